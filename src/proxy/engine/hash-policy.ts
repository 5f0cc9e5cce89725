/** Request hashes for consistent balancing: the policies' hashes rotated together as Envoy does. */
import type {
  RouteAction_HashPolicy as HashPolicy,
  RouteAction_HashPolicy_Cookie as CookiePolicy,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { formatSocketAddress, hasPort } from "../../base/socket-address.ts";
import type { HashBits } from "./chooser.ts";
import { stateObject } from "./filter-state.ts";
import { refuse } from "./refusal.ts";
import { compileSubstitution, tooCostly } from "./regex-substitution.ts";
import type { RequestView } from "./request.ts";
import { cookieValue, queryValue } from "./request-text.ts";
import { lowerAscii } from "./text-test.ts";
import { Hash64 } from "./xx-hash.ts";

/** Of one request: cookies that its policies made, because the client has none yet. */
export interface MadeCookies {
  /** Values of `set-cookie`; undefined until there is one. */
  cookies: string[] | undefined;
}

/**
 * Undefined when no policy found anything to hash. The bits are good until the next request is hashed.
 * Where nobody takes cookies, none is made.
 */
export type RequestHash = (request: RequestView, made?: MadeCookies) => HashBits | undefined;

export function compileHashPolicies(
  policies: readonly HashPolicy[],
  path: string,
): RequestHash | undefined {
  if (policies.length === 0) return undefined;
  const sources = policies.map((policy, i) => ({
    valueOf: compileSource(policy, `${path}[${i}]`),
    isTerminal: policy.terminal,
  }));
  return (request, made) => {
    let isFound = false;
    total.set(0, 0);
    for (const { valueOf, isTerminal } of sources) {
      const value = valueOf(request, made);
      if (value !== undefined) {
        next.ofText(value);
        total.rotate(1);
        total.xor(next.hi, next.lo);
        isFound = true;
      }
      if (isTerminal && isFound) break;
    }
    return isFound ? total : undefined;
  };
}

// Of one request at a time: looking a value up calls nobody back.
const total = new Hash64();
const next = new Hash64();

type Source = (request: RequestView, made: MadeCookies | undefined) => string | undefined;

function compileSource(policy: HashPolicy, path: string): Source {
  if (policy.header !== undefined) {
    const name = lowerAscii(policy.header.headerName);
    const rule = policy.header.regexRewrite;
    if (rule === undefined) return (request) => request.header(name);
    const rewrite = compileSubstitution(rule, `${path}.header.regex_rewrite`);
    return (request) => {
      const value = request.header(name);
      const rewritten = value === undefined ? undefined : rewrite(value);
      // It chooses an endpoint, as for a request without the header, and nothing is passed on.
      return rewritten === tooCostly ? undefined : rewritten;
    };
  }
  if (policy.cookie !== undefined) return compileCookie(policy.cookie);
  if (policy.connectionProperties?.sourceIp === true) {
    return (request) => {
      const address = request.remoteAddress ?? request.connection.sourceAddress;
      // As Envoy: all who come from one Unix socket are not one client.
      return hasPort(address) ? address : undefined;
    };
  }
  if (policy.queryParameter !== undefined) {
    const { name } = policy.queryParameter;
    return (request) => queryValue(request.path, name);
  }
  if (policy.filterState !== undefined) {
    const { key } = policy.filterState;
    return (request) => {
      const object = stateObject(request, key);
      return object?.isHashable === true ? object.text : undefined;
    };
  }
  return refuse(path, "this kind of hash policy is not supported");
}

/** With a time to live, a client without the cookie gets one, which its connection determines. */
function compileCookie({ name, ttl, path, attributes }: CookiePolicy): Source {
  const valueOf = (request: RequestView): string | undefined =>
    cookieValue(request, name) || undefined;
  if (ttl === undefined) return valueOf;
  const suffix = [
    ttl.seconds === 0n ? "" : `; Max-Age=${ttl.seconds}`,
    path === "" ? "" : `; Path=${path}`,
    ...attributes.map((each) => `; ${each.name}${each.value === "" ? "" : `=${each.value}`}`),
    "; HttpOnly",
  ].join("");
  return (request, made) => {
    const value = valueOf(request);
    if (value !== undefined || made === undefined) return value;
    const { connection } = request;
    const between =
      addressText(connection.sourceAddress, connection.sourcePort) +
      addressText(connection.destinationAddress, connection.destinationPort);
    const bits = next.ofText(between).toBigInt().toString(16).padStart(16, "0");
    (made.cookies ??= []).push(`${name}="${bits}"${suffix}`);
    return bits;
  };
}

function addressText(address: string, port: number): string {
  return formatSocketAddress({ address, port });
}
