/** Envoy's RBAC, interpreted: slow and obvious, straight from the messages. */
import assert from "node:assert/strict";

import type { ConnectionView, RequestView } from "../../../src/proxy/engine/request.ts";
import {
  RBAC_Action as Action,
  type Permission,
  type Principal,
  type RBAC,
} from "../../../src/wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import type { CidrRange } from "../../../src/wire/gen/ts/envoy/config/core/v3/address.ts";
import type { MetadataMatcher } from "../../../src/wire/gen/ts/envoy/type/matcher/v3/metadata.ts";
import type { ValueMatcher } from "../../../src/wire/gen/ts/envoy/type/matcher/v3/value.ts";
import { oracleHeader, oracleText } from "./headers.ts";

/** `allow` or `deny`, and which policy said so. */
export function oracleRbac(rules: RBAC, request: RequestView): string {
  const names = Object.keys(rules.policies).toSorted((a, b) => (a < b ? -1 : 1));
  const found = names.find((name) => {
    const policy = rules.policies[name];
    if (policy === undefined) return false;
    return (
      policy.permissions.some((one) => permits(one, request)) &&
      policy.principals.some((one) => identifies(one, request))
    );
  });
  if (rules.action === Action.DENY) return found === undefined ? "allow" : `deny ${found}`;
  if (rules.action === Action.ALLOW) return found === undefined ? "deny" : `allow ${found}`;
  return found === undefined ? "allow" : `allow ${found}`;
}

function permits(rule: Permission, request: RequestView): boolean {
  const { connection } = request;
  if (rule.andRules !== undefined) return rule.andRules.rules.every((one) => permits(one, request));
  if (rule.orRules !== undefined) return rule.orRules.rules.some((one) => permits(one, request));
  if (rule.notRule !== undefined) return !permits(rule.notRule, request);
  if (rule.any === true) return true;
  if (rule.header !== undefined) return oracleHeader(rule.header, request);
  if (rule.urlPath?.path !== undefined) return hasPath(rule.urlPath.path, request);
  if (rule.destinationIp !== undefined) {
    return isIn(rule.destinationIp, connection.destinationAddress);
  }
  if (rule.destinationPort !== undefined)
    return rule.destinationPort === connection.destinationPort;
  if (rule.destinationPortRange !== undefined) {
    const { start, end } = rule.destinationPortRange;
    return connection.destinationPort >= start && connection.destinationPort < end;
  }
  if (rule.requestedServerName !== undefined) {
    return oracleText(rule.requestedServerName, connection.sni ?? "");
  }
  if (rule.metadata !== undefined) return hasMetadata(rule.metadata, request);
  throw new Error("the test's permission says nothing");
}

function identifies(id: Principal, request: RequestView): boolean {
  const { connection } = request;
  if (id.andIds !== undefined) return id.andIds.ids.every((one) => identifies(one, request));
  if (id.orIds !== undefined) return id.orIds.ids.some((one) => identifies(one, request));
  if (id.notId !== undefined) return !identifies(id.notId, request);
  if (id.any === true) return true;
  if (id.authenticated !== undefined) return hasName(id.authenticated.principalName, connection);
  if (id.directRemoteIp !== undefined) {
    return isIn(
      id.directRemoteIp,
      (connection.direct ?? { address: connection.sourceAddress }).address,
    );
  }
  if (id.sourceIp !== undefined) return isIn(id.sourceIp, connection.sourceAddress);
  if (id.remoteIp !== undefined) {
    return isIn(id.remoteIp, request.remoteAddress ?? connection.sourceAddress);
  }
  if (id.header !== undefined) return oracleHeader(id.header, request);
  if (id.urlPath?.path !== undefined) return hasPath(id.urlPath.path, request);
  if (id.metadata !== undefined) return hasMetadata(id.metadata, request);
  const { filterState } = id;
  if (filterState?.stringMatch !== undefined) {
    const states = [...(connection.state ?? []), ...(request.state ?? [])];
    const found = states.findLast(([key]) => key === filterState.key);
    const text = found?.[1].text;
    return text !== undefined && oracleText(filterState.stringMatch, text);
  }
  throw new Error("the test's principal says nothing");
}

function hasMetadata(matcher: MetadataMatcher, { metadata }: RequestView): boolean {
  const steps = [matcher.filter, ...matcher.path.map(({ key = "" }) => key)];
  let json: unknown = Object.fromEntries(metadata ?? []);
  for (const step of steps) {
    const entries = typeof json === "object" && json !== null ? Object.entries(json) : [];
    json = Array.isArray(json) ? undefined : entries.find(([key]) => key === step)?.[1];
  }
  assert.ok(matcher.value !== undefined);
  return isValue(matcher.value, json) !== matcher.invert;
}

function isValue(matcher: ValueMatcher, json: unknown): boolean {
  if (matcher.nullMatch !== undefined) return json === null;
  if (matcher.stringMatch !== undefined) {
    return typeof json === "string" && oracleText(matcher.stringMatch, json);
  }
  if (matcher.boolMatch !== undefined) return json === matcher.boolMatch;
  if (matcher.presentMatch !== undefined) return (json === undefined) !== matcher.presentMatch;
  if (matcher.orMatch !== undefined) {
    return matcher.orMatch.valueMatchers.some((one) => isValue(one, json));
  }
  const { oneOf } = matcher.listMatch ?? {};
  if (oneOf !== undefined) return Array.isArray(json) && json.some((one) => isValue(oneOf, one));
  throw new Error("the test's matcher says nothing");
}

function hasName(
  matcher: Parameters<typeof oracleText>[0] | undefined,
  { isTls, peerUriSans, peerNames = { dnsSans: [], subject: "" } }: ConnectionView,
): boolean {
  if (matcher === undefined || !isTls) return isTls;
  const names = [...peerUriSans, ...peerNames.dnsSans, peerNames.subject];
  return names.some((name) => oracleText(matcher, name));
}

/** CONNECT has no path. */
function hasPath(matcher: Parameters<typeof oracleText>[0], request: RequestView): boolean {
  return request.method !== "CONNECT" && oracleText(matcher, pathOf(request));
}

function pathOf(request: RequestView): string {
  return request.path.split(/[?#]/)[0] ?? "";
}

/** IPv4 alone, as bits; what is no address lies in no range. */
export function isIn(range: CidrRange, address: string): boolean {
  if (!/^\d+\.\d+\.\d+\.\d+$/.test(address)) return false;
  const length = range.prefixLen ?? 0;
  return bitsOf(range.addressPrefix).slice(0, length) === bitsOf(address).slice(0, length);
}

function bitsOf(address: string): string {
  return address
    .split(".")
    .map((byte) => Number(byte).toString(2).padStart(8, "0"))
    .join("");
}
