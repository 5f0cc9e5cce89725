/**
 * What Envoy says of a request in a span, in its words: for tracers whose backends know them (Zipkin
 * and its like). OpenTelemetry's names are in `span-writer.ts`.
 */
import { utf8Of } from "../../base/latin1.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { moment, type Moment } from "../../telemetry/request-times.ts";
import { grpcStatusName } from "../../wire/grpc.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import type { SpanStyle } from "./span-writer.ts";

export interface TagOptions {
  readonly style: SpanStyle;
  readonly node: { readonly id: string; readonly zone?: string };
}

export type Tags = Record<string, string>;

/** Of the span that tells of the request itself. */
export function requestTags(record: RequestRecord, { style, node }: TagOptions): Tags {
  const header = (name: string): string | undefined => {
    const value = record.requestHeader(name);
    return value === undefined ? undefined : utf8Of(value);
  };
  const tags: Tags = {};
  if (record.requestId !== "") tags["guid:x-request-id"] = record.requestId;
  tags["http.url"] = urlOf(record, style.pathCharsMax);
  tags["http.method"] = record.method;
  tags["downstream_cluster"] = header("x-envoy-downstream-service-cluster") ?? "-";
  tags["user_agent"] = header("user-agent") ?? "-";
  tags["http.protocol"] = record.protocol === "" ? "-" : record.protocol;
  tags["peer.address"] = (record.downstreamDirectAddress ?? record.downstreamRemoteAddress).address;
  const clientTraceId = header("x-client-trace-id");
  if (clientTraceId !== undefined) tags["guid:x-client-trace-id"] = clientTraceId;
  if (isGrpcContentType(record.requestHeader("content-type"))) addGrpcTags(tags, record, header);
  addCustomTags(tags, record, style);
  tags["request_size"] = String(record.bytesReceived);
  tags["response_size"] = String(record.bytesSent);
  addCommonTags(tags, record);
  if (node.id !== "") tags["node_id"] = node.id;
  if (node.zone !== undefined && node.zone !== "") tags["zone"] = node.zone;
  return tags;
}

/** Of a span of its own towards the upstream. */
export function upstreamTags(record: RequestRecord, { style }: TagOptions): Tags {
  const tags: Tags = {};
  tags["http.protocol"] = record.upstreamProtocol || "-";
  if (record.upstreamHost !== undefined) {
    const address = formatSocketAddress(record.upstreamHost);
    tags["upstream_address"] = address;
    tags["peer.address"] = address;
  }
  addCommonTags(tags, record);
  addCustomTags(tags, record, style);
  return tags;
}

/** The path before rewrites, cut where it is long. */
function urlOf(record: RequestRecord, pathCharsMax: number): string {
  const path = record.requestHeader("x-envoy-original-path") ?? record.path;
  const scheme = record.requestHeader("x-forwarded-proto") ?? record.scheme;
  return utf8Of(`${scheme}://${record.authority}${path.slice(0, pathCharsMax)}`);
}

function addCustomTags(tags: Tags, record: RequestRecord, style: SpanStyle): void {
  for (const { name, valueOf } of style.tags) {
    const value = valueOf(record);
    if (value !== "") tags[name] = value;
  }
}

function addCommonTags(tags: Tags, record: RequestRecord): void {
  tags["component"] = "proxy";
  if (record.upstreamCluster !== "") {
    tags["upstream_cluster"] = record.upstreamCluster;
    tags["upstream_cluster.name"] = record.upstreamCluster;
  }
  tags["http.status_code"] = String(record.responseCode);
  tags["response_flags"] = record.responseFlags === "" ? "-" : record.responseFlags;
  if (record.responseCode === 0 || record.responseCode >= 500) tags["error"] = "true";
}

function addGrpcTags(
  tags: Tags,
  record: RequestRecord,
  header: (name: string) => string | undefined,
): void {
  tags["grpc.path"] = utf8Of(record.path);
  tags["grpc.authority"] = utf8Of(record.authority);
  tags["grpc.content_type"] = header("content-type") ?? "";
  const timeout = header("grpc-timeout");
  if (timeout !== undefined) tags["grpc.timeout"] = timeout;
  const status = record.grpcStatus;
  if (status === undefined) return;
  tags["grpc.status_code"] = String(status);
  const message = record.responseTrailer("grpc-message") ?? record.responseHeader("grpc-message");
  if (message !== undefined) tags["grpc.message"] = utf8Of(message);
  if (failedStatuses.has(grpcStatusName(status))) tags["error"] = "true";
}

/** What is the server's doing, as Envoy sees it. */
const failedStatuses: ReadonlySet<string> = new Set([
  "unknown",
  "deadlineExceeded",
  "unimplemented",
  "internal",
  "unavailable",
  "dataLoss",
]);

export interface SpanMoment {
  readonly name: string;
  /** Since the request began. */
  readonly afterMs: number;
}

const moments: readonly (readonly [name: string, which: Moment])[] = [
  ["last_downstream_rx_byte_received", moment.requestEnd],
  ["first_upstream_tx_byte_sent", moment.sendBegin],
  ["last_upstream_tx_byte_sent", moment.sendEnd],
  ["first_upstream_rx_byte_received", moment.answerBegin],
  ["last_upstream_rx_byte_received", moment.answerEnd],
  ["first_downstream_tx_byte_sent", moment.responseBegin],
  ["last_downstream_tx_byte_sent", moment.responseEnd],
];

/** For spans that are `verbose`; what did not happen is left out. */
export function momentsOf({ times }: RequestRecord): readonly SpanMoment[] {
  const at = (which: Moment): number => times?.at[which] ?? Number.NaN;
  return moments
    .map(([name, which]) => ({ name, afterMs: at(which) - at(moment.requestBegin) }))
    .filter(({ afterMs }) => !Number.isNaN(afterMs));
}
