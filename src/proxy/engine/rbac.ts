/**
 * Envoy's RBAC policies, compiled. ALLOW admits what some policy matches and denies the rest, also
 * when there is no policy; DENY the other way round; LOG never denies. Whatever cannot be honoured
 * is refused while compiling: a permission that is silently skipped would open a door.
 */
import type { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import {
  RBAC_Action as Action,
  type Permission,
  type Policy,
  type Principal,
  type RBAC,
} from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import type { PathMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/path.ts";
import { compileHeaderMatcher } from "./header-matcher.ts";
import { type IpRange, isInRange, parseIp, parseIpRange } from "./ip.ts";
import { refuse } from "./refusal.ts";
import { pathOf } from "./request-path.ts";
import type { ConnectionView, RequestView } from "./request.ts";
import { compileStringMatcher } from "./string-matcher.ts";

export interface RbacVerdict {
  readonly isAllowed: boolean;
  /** The policy that decided; undefined when none matched. */
  readonly policy: string | undefined;
}

export interface Rbac {
  evaluate(request: RequestView): RbacVerdict;
}

/** For TCP: the same rules over a connection alone; HTTP criteria never match there. */
export interface NetworkRbac {
  evaluate(connection: ConnectionView): RbacVerdict;
}

type Predicate = (subject: Subject) => boolean;

/** What rules look at; `request` is absent for TCP. */
interface Subject {
  readonly connection: ConnectionView;
  readonly request: RequestView | undefined;
}

/** `undefined` rules switch RBAC off, as an absent `rules` field does in Envoy. */
export function compileRbac(rules: RBAC | undefined, path: string): Rbac | undefined {
  if (rules === undefined) return undefined;
  const verdict = compileRules(rules, path);
  return { evaluate: (request) => verdict({ connection: request.connection, request }) };
}

export function compileNetworkRbac(rules: RBAC | undefined, path: string): NetworkRbac | undefined {
  if (rules === undefined) return undefined;
  const verdict = compileRules(rules, path);
  return { evaluate: (connection) => verdict({ connection, request: undefined }) };
}

/** As in Envoy's access log; white space in policy names is replaced so the field stays one word. */
export function deniedDetails(verdict: RbacVerdict): string {
  const policy = (verdict.policy ?? "none").replaceAll(/[\s[\]]/g, (char) =>
    char === "[" || char === "]" ? char : "_",
  );
  return `rbac_access_denied_matched_policy[${policy}]`;
}

function compileRules(rules: RBAC, path: string): (subject: Subject) => RbacVerdict {
  if (rules.auditLoggingOptions !== undefined) {
    refuse(`${path}.audit_logging_options`, "is not supported");
  }
  // Envoy walks policies in name order; the first match names the verdict.
  const policies = Object.entries(rules.policies)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, policy]) => ({
      name,
      matches: compilePolicy(policy, `${path}.policies[${name}]`),
    }));
  const whenMatched = rules.action !== Action.DENY;
  const whenNot = rules.action !== Action.ALLOW;
  if (!Object.values(Action).includes(rules.action) || rules.action === Action.UNRECOGNIZED) {
    refuse(`${path}.action`, `${rules.action} is not known`);
  }
  const unmatched: RbacVerdict = { isAllowed: whenNot, policy: undefined };
  const verdicts = policies.map(({ name }) => ({ isAllowed: whenMatched, policy: name }));
  return (subject) => {
    for (let i = 0; i < policies.length; i++) {
      if (policies[i]?.matches(subject) === true) return verdicts[i] ?? unmatched;
    }
    return unmatched;
  };
}

function compilePolicy(policy: Policy, path: string): Predicate {
  if (policy.condition !== undefined || policy.checkedCondition !== undefined) {
    refuse(`${path}.condition`, "is not supported");
  }
  if (policy.permissions.length === 0) refuse(`${path}.permissions`, "at least one is required");
  if (policy.principals.length === 0) refuse(`${path}.principals`, "at least one is required");
  const permissions = policy.permissions.map((permission, i) =>
    compilePermission(permission, `${path}.permissions[${i}]`),
  );
  const principals = policy.principals.map((principal, i) =>
    compilePrincipal(principal, `${path}.principals[${i}]`),
  );
  const permits = anyOf(permissions);
  const identifies = anyOf(principals);
  return (subject) => permits(subject) && identifies(subject);
}

function compilePermission(permission: Permission, path: string): Predicate {
  const { andRules, orRules, notRule } = permission;
  if (andRules !== undefined) {
    return allOf(compilePermissions(andRules.rules, `${path}.and_rules`));
  }
  if (orRules !== undefined) return anyOf(compilePermissions(orRules.rules, `${path}.or_rules`));
  if (notRule !== undefined) {
    const inner = compilePermission(notRule, `${path}.not_rule`);
    return (subject) => !inner(subject);
  }
  if (permission.any === true) return () => true;
  if (permission.header !== undefined) return headerRule(permission.header, `${path}.header`);
  if (permission.urlPath !== undefined) return pathRule(permission.urlPath, `${path}.url_path`);
  if (permission.destinationIp !== undefined) {
    const range = parseIpRange(permission.destinationIp, `${path}.destination_ip`);
    return (subject) => isWithin(subject.connection.destinationAddress, range);
  }
  if (permission.destinationPort !== undefined) {
    const port = permission.destinationPort;
    return (subject) => subject.connection.destinationPort === port;
  }
  if (permission.destinationPortRange !== undefined) {
    const { start, end } = permission.destinationPortRange;
    return ({ connection }) =>
      connection.destinationPort >= start && connection.destinationPort < end;
  }
  if (permission.requestedServerName !== undefined) {
    const matches = compileStringMatcher(
      permission.requestedServerName,
      `${path}.requested_server_name`,
    );
    return (subject) => matches(subject.connection.sni ?? "");
  }
  return refuse(path, `this kind of permission is not supported (${setFields(permission)})`);
}

function compilePermissions(rules: readonly Permission[], path: string): readonly Predicate[] {
  if (rules.length === 0) refuse(`${path}.rules`, "at least one is required");
  return rules.map((rule, i) => compilePermission(rule, `${path}.rules[${i}]`));
}

function compilePrincipal(principal: Principal, path: string): Predicate {
  const { andIds, orIds, notId } = principal;
  if (andIds !== undefined) return allOf(compilePrincipals(andIds.ids, `${path}.and_ids`));
  if (orIds !== undefined) return anyOf(compilePrincipals(orIds.ids, `${path}.or_ids`));
  if (notId !== undefined) {
    const inner = compilePrincipal(notId, `${path}.not_id`);
    return (subject) => !inner(subject);
  }
  if (principal.any === true) return () => true;
  if (principal.authenticated !== undefined) {
    const name = principal.authenticated.principalName;
    if (name === undefined) return ({ connection }) => connection.peerUriSans.length > 0;
    const matches = compileStringMatcher(name, `${path}.authenticated.principal_name`);
    return ({ connection }) => connection.peerUriSans.some(matches);
  }
  if (principal.directRemoteIp !== undefined) {
    const range = parseIpRange(principal.directRemoteIp, `${path}.direct_remote_ip`);
    return (subject) => isWithin(subject.connection.sourceAddress, range);
  }
  const remote = principal.remoteIp ?? principal.sourceIp;
  if (remote !== undefined) {
    const range = parseIpRange(remote, `${path}.remote_ip`);
    return ({ request, connection }) =>
      isWithin(request?.remoteAddress ?? connection.sourceAddress, range);
  }
  if (principal.header !== undefined) return headerRule(principal.header, `${path}.header`);
  if (principal.urlPath !== undefined) return pathRule(principal.urlPath, `${path}.url_path`);
  if (principal.filterState?.key === "io.istio.peer_principal") {
    const matches = compileStringMatcher(
      principal.filterState.stringMatch,
      `${path}.filter_state.string_match`,
    );
    return ({ connection }) => connection.peerUriSans.some(matches);
  }
  return refuse(path, `this kind of principal is not supported (${setFields(principal)})`);
}

function compilePrincipals(ids: readonly Principal[], path: string): readonly Predicate[] {
  if (ids.length === 0) refuse(`${path}.ids`, "at least one is required");
  return ids.map((id, i) => compilePrincipal(id, `${path}.ids[${i}]`));
}

function headerRule(matcher: HeaderMatcher, path: string): Predicate {
  const matches = compileHeaderMatcher(matcher, path);
  return ({ request }) =>
    request === undefined ? matches(() => undefined) : matches((name) => request.header(name));
}

function pathRule(matcher: PathMatcher, path: string): Predicate {
  const matches = compileStringMatcher(matcher.path, `${path}.path`);
  return ({ request }) => request !== undefined && matches(pathOf(request.path));
}

function isWithin(address: string, range: IpRange): boolean {
  const bytes = parseIp(address);
  return bytes !== undefined && isInRange(bytes, range);
}

function anyOf(predicates: readonly Predicate[]): Predicate {
  const [only] = predicates;
  if (predicates.length === 1 && only !== undefined) return only;
  return (subject) => {
    for (const predicate of predicates) if (predicate(subject)) return true;
    return false;
  };
}

function allOf(predicates: readonly Predicate[]): Predicate {
  const [only] = predicates;
  if (predicates.length === 1 && only !== undefined) return only;
  return (subject) => {
    for (const predicate of predicates) if (!predicate(subject)) return false;
    return true;
  };
}

function setFields(message: object): string {
  const fields = Object.entries(message)
    .filter(([field, value]) => value !== undefined && field !== "_unknownFields")
    .map(([field]) => field);
  return fields.length === 0 ? "none is set" : fields.join(", ");
}
