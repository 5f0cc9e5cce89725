/**
 * SkyWalking's `sw8` header, version 3: who called, in which segment of which trace. Its texts are in
 * base64, so that they may hold anything.
 */
export interface SegmentReference {
  readonly traceId: string;
  readonly segmentId: string;
  readonly spanId: number;
  readonly service: string;
  readonly instance: string;
  readonly endpoint: string;
  /** How the caller addressed us. */
  readonly address: string;
}

/** Longer ones are not read. */
const charactersMax = 2048;

export function parseSw8(text: string | undefined): SegmentReference | undefined {
  if (text === undefined || text.length > charactersMax) return undefined;
  const [sampled = "", trace, segment, span = "", ...rest] = text.split("-");
  if (!/^[01]$/.test(sampled) || !/^\d{1,9}$/.test(span) || rest.length !== 4) return undefined;
  const texts = [trace, segment, ...rest].map((part) => decoded(part ?? ""));
  const [traceId = "", segmentId = "", service, instance, endpoint, address] = texts;
  if (texts.includes(undefined) || traceId === "" || segmentId === "") return undefined;
  return {
    traceId,
    segmentId,
    spanId: Number(span),
    service: service ?? "",
    instance: instance ?? "",
    endpoint: endpoint ?? "",
    address: address ?? "",
  };
}

function decoded(part: string): string | undefined {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(part)) return undefined;
  return Buffer.from(part, "base64").toString("utf8");
}

export function formatSw8(reference: SegmentReference): string {
  const encoded = (text: string): string => Buffer.from(text).toString("base64");
  const { traceId, segmentId, spanId, service, instance, endpoint, address } = reference;
  const texts = [service, instance, endpoint, address].map(encoded);
  return ["1", encoded(traceId), encoded(segmentId), spanId, ...texts].join("-");
}
