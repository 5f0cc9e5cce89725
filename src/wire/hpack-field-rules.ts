/** How HPACK writes the fields of each name: which never enter a table, and which are in the fixed one. */
import { staticCount, staticTable } from "./hpack-tables.ts";
import { hashName, knownId } from "./http1-tables.ts";

/** Never indexed (RFC 7541 section 7.1.3): whoever can guess must not learn from lengths. */
const secretNames: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
  "set-cookie",
  "x-forwarded-client-cert",
]);
/** Different each time: the table would only lose what is worth keeping. */
const fleetingNames: ReadonlySet<string> = new Set([
  "age",
  "content-length",
  "content-range",
  "etag",
  "grpc-timeout",
  "if-modified-since",
  "if-none-match",
  "last-modified",
  "location",
  "traceparent",
  "x-b3-spanid",
  "x-b3-traceid",
  "x-envoy-expected-rq-timeout-ms",
  "x-envoy-upstream-service-time",
  "x-request-id",
]);

export interface FieldRule {
  readonly name: Uint8Array;
  readonly hash: number;
  readonly kind: "indexed" | "secret" | "fleeting";
  /** The first entry of this name in the fixed table; 0 for none. */
  readonly staticName: number;
}

const staticByName = new Map<string, number>();
for (let index = staticCount; index > 0; index--) {
  const entry = staticTable[index];
  if (entry === undefined) continue;
  staticByName.set(String.fromCharCode(...entry.line.subarray(0, entry.nameLength)), index);
}

const byText = new Map<string, FieldRule>();
/** Of the names above and in the fixed table. */
const byHash = new Map<number, FieldRule>();
const byId: (FieldRule | undefined)[] = [];
for (const text of [...secretNames, ...fleetingNames, ...staticByName.keys()]) {
  const rule = ruleOf(text);
  byText.set(text, rule);
  byHash.set(rule.hash, rule);
  const id = knownId(rule.hash, rule.name, 0, rule.name.length);
  if (id !== 0) byId[id] = rule;
}
/** Names of our own fields come from code and configuration, so there are few. */
const keptMax = byText.size + 256;

function ruleOf(text: string): FieldRule {
  const kind = secretNames.has(text) ? "secret" : fleetingNames.has(text) ? "fleeting" : "indexed";
  return {
    name: Uint8Array.from(text, (character) => character.charCodeAt(0)),
    hash: hashName(text),
    kind,
    staticName: staticByName.get(text) ?? 0,
  };
}

/** Of a lower-case name. */
export function ruleOfText(name: string): FieldRule {
  let rule = byText.get(name);
  if (rule === undefined) {
    rule = ruleOf(name);
    if (byText.size < keptMax) byText.set(name, rule);
  }
  return rule;
}

/**
 * Of a name whose `hashName()` and `knownId()` are told; undefined: as others. A name without number may
 * only share its hash.
 */
export function ruleOfHash(hash: number, id: number): FieldRule | undefined {
  return id === 0 ? byHash.get(hash) : byId[id];
}
