/** Request hashes for consistent balancing: the policies' hashes rotated together as Envoy does. */
import type { RouteAction_HashPolicy as HashPolicy } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { durationMs } from "./duration.ts";
import { refuse } from "./refusal.ts";
import { compileSubstitution } from "./regex.ts";
import type { RequestView } from "./request.ts";
import { cookieValue, queryValue } from "./request-text.ts";
import { lowerAscii } from "./text-test.ts";
import { Hash64 } from "./xx-hash.ts";

/** Gives 53 bits, or undefined when no policy found anything to hash. */
export type RequestHash = (request: RequestView) => number | undefined;

export function compileHashPolicies(
  policies: readonly HashPolicy[],
  path: string,
): RequestHash | undefined {
  if (policies.length === 0) return undefined;
  const sources = policies.map((policy, i) => ({
    valueOf: compileSource(policy, `${path}[${i}]`),
    isTerminal: policy.terminal,
  }));
  return (request) => {
    let isFound = false;
    total.set(0, 0);
    for (const { valueOf, isTerminal } of sources) {
      const value = valueOf(request);
      if (value !== undefined) {
        next.ofText(value);
        total.rotate(1);
        total.xor(next.hi, next.lo);
        isFound = true;
      }
      if (isTerminal && isFound) break;
    }
    return isFound ? total.toNumber() : undefined;
  };
}

// Of one request at a time: looking a value up calls nobody back.
const total = new Hash64();
const next = new Hash64();

function compileSource(
  policy: HashPolicy,
  path: string,
): (request: RequestView) => string | undefined {
  if (policy.header !== undefined) {
    const name = lowerAscii(policy.header.headerName);
    const rule = policy.header.regexRewrite;
    if (rule === undefined) return (request) => request.header(name);
    const rewrite = compileSubstitution(rule, `${path}.header.regex_rewrite`);
    return (request) => {
      const value = request.header(name);
      return value === undefined ? undefined : rewrite(value);
    };
  }
  if (policy.cookie !== undefined) {
    const { name, ttl } = policy.cookie;
    if (durationMs(ttl) !== undefined) {
      refuse(`${path}.cookie.ttl`, "making the cookie is not supported; the client must send it");
    }
    return (request) => cookieValue(request, name);
  }
  if (policy.connectionProperties?.sourceIp === true) {
    return (request) => request.remoteAddress ?? request.connection.sourceAddress;
  }
  if (policy.queryParameter !== undefined) {
    const { name } = policy.queryParameter;
    return (request) => queryValue(request.path, name);
  }
  return refuse(path, "this kind of hash policy is not supported");
}
