/**
 * Which requests of a connection are sound, read slowly: whole frames, one after another, up to the first
 * thing that is not a plain HEADERS or DATA frame. RFC 9113 section 8.3.
 */
import { type Field, ReferenceDecoder } from "./hpack-reference.ts";

export interface Verdict {
  readonly streamId: number;
  readonly isSound: boolean;
}

export function readRequests(input: Buffer): readonly Verdict[] {
  const decoder = new ReferenceDecoder(4096);
  const verdicts: Verdict[] = [];
  let last = 0;
  for (let at = 0; at + 9 <= input.length;) {
    const length = input.readUIntBE(at, 3);
    const [type, flags] = [input[at + 3], input[at + 4]];
    const streamId = input.readUInt32BE(at + 5) & 0x7fff_ffff;
    const payload = input.subarray(at + 9, at + 9 + length);
    // Neither padding nor priority nor pieces, and each stream once.
    const isPlain = type === 1 && (flags === 4 || flags === 5) && streamId > last;
    if (!isPlain || streamId % 2 === 0 || payload.length < length) break;
    const fields = decoder.decode(payload);
    if (fields === undefined || verdicts.length === 4) break;
    last = streamId;
    const isSound = isRequest(fields, flags === 5);
    verdicts.push({ streamId, isSound });
    if (!isSound && !isText(fields)) break;
    at += 9 + length;
  }
  return verdicts;
}

const token = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const name = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const value =
  /^(|[\x21-\x7e\x80-\xff]|[\x21-\x7e\x80-\xff][\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])$/;
const authority = /^([A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9a-fA-F:.]+\])(:\d{0,5})?$/;
const hopFields = ["connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade"];

function isText(fields: readonly Field[]): boolean {
  return fields.every(([one, text]) => name.test(one.replace(/^:/, "")) && value.test(text));
}

function isRequest(fields: readonly Field[], isEnd: boolean): boolean {
  const cost = fields.reduce((sum, [one, text]) => sum + one.length + text.length + 32, 0);
  if (!isText(fields) || cost > 2000 || fields.length > 16) return false;
  const firstPlain = fields.findIndex(([one]) => !one.startsWith(":"));
  const pseudo = firstPlain < 0 ? fields : fields.slice(0, firstPlain);
  const plain = firstPlain < 0 ? [] : fields.slice(firstPlain);
  if (plain.some(([one]) => one.startsWith(":") || hopFields.includes(one))) return false;
  const byName = new Map(pseudo);
  const allowed = [":method", ":scheme", ":authority", ":path"];
  if (byName.size < pseudo.length || pseudo.some(([one]) => !allowed.includes(one))) return false;
  const valuesOf = (one: string): readonly string[] =>
    plain.filter(([other]) => other === one).map(([, text]) => text);
  const hosts = valuesOf("host");
  const host = byName.get(":authority") ?? hosts[0] ?? "";
  if (hosts.length > 1 || !authority.test(host)) return false;
  if (valuesOf("te").some((text) => text.toLowerCase() !== "trailers")) return false;
  if (valuesOf("expect").some((text) => text.toLowerCase() !== "100-continue")) return false;
  const lengths = valuesOf("content-length");
  const isLength = lengths.every((text) => /^(0|[1-9]\d{0,14})$/.test(text));
  if (lengths.length > 1 || !isLength || (isEnd && Number(lengths[0] ?? 0) > 0)) return false;
  return isTarget(byName);
}

function isTarget(pseudo: ReadonlyMap<string, string>): boolean {
  const method = pseudo.get(":method") ?? "";
  const path = pseudo.get(":path");
  const scheme = pseudo.get(":scheme");
  if (!token.test(method)) return false;
  if (method === "CONNECT") {
    return path === undefined && scheme === undefined && pseudo.has(":authority");
  }
  if (path === undefined || !/^https?$/i.test(scheme ?? "")) return false;
  const isStar = path === "*" && method === "OPTIONS";
  return /^\/[\x21-\x7e\x80-\xff]*$/.test(path) || isStar;
}
