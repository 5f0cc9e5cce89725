/**
 * Envoy's RBAC policies, compiled. ALLOW admits what some policy matches and denies the rest, also
 * when there is no policy; DENY the other way round; LOG never denies. Whatever cannot be honoured
 * is refused while compiling: a permission that is silently skipped would open a door.
 */
import type { DynamicMetadata, RequestRecord } from "../../telemetry/request-record.ts";
import type { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import {
  MetadataSource,
  RBAC_Action as Action,
  type Permission,
  type Policy,
  type Principal,
  type RBAC,
} from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import type { PathMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/path.ts";
import { celCondition } from "./cel-condition.ts";
import { type CodeChoice, compileFirstMatch } from "./condition-code.ts";
import { allOf, always, anyOf, type Condition, never, not } from "./condition.ts";
import { stateCondition } from "./filter-state.ts";
import { headerCondition } from "./header-matcher.ts";
import { parseIpRange } from "./ip.ts";
import { compileTemplateTest, templateOf } from "./uri-template.ts";
import { compileMetadataMatcher } from "./metadata-matcher.ts";
import { refuse } from "./refusal.ts";
import { pathOf } from "./request-path.ts";
import type { ConnectionView, RequestView } from "./request.ts";
import { textTestOf } from "./string-matcher.ts";

export interface RbacVerdict {
  readonly isAllowed: boolean;
  /** The policy that decided; undefined when none matched. */
  readonly policy: string | undefined;
  /** An action of a tree of matchers says whether what it decides shall be logged. */
  readonly isLogged?: boolean;
}

export interface Rbac {
  evaluate(request: RequestView): RbacVerdict;
}

/**
 * For TCP: the same rules over a connection alone; HTTP criteria never match there. `recordOf` is for
 * conditions, which hold for none without it.
 */
export interface NetworkRbac {
  evaluate(connection: ConnectionView, recordOf?: () => RequestRecord): RbacVerdict;
}

/** `undefined` rules switch RBAC off, as an absent `rules` field does in Envoy. */
export function compileRbac(
  rules: RBAC | undefined,
  path: string,
  choice: CodeChoice = {},
): Rbac | undefined {
  if (rules === undefined) return undefined;
  return { evaluate: compileRules(rules, { path, isHttp: true, choice }) };
}

export function compileNetworkRbac(
  rules: RBAC | undefined,
  path: string,
  choice: CodeChoice = {},
): NetworkRbac | undefined {
  if (rules === undefined) return undefined;
  const evaluate = compileRules(rules, { path, isHttp: false, choice });
  return {
    evaluate: (connection, recordOf) => evaluate(new ConnectionAlone(connection, recordOf)),
  };
}

/** A connection, for rules that are asked of requests; nothing asks for its HTTP part. */
export class ConnectionAlone implements RequestView {
  readonly method = "";
  readonly path = "";
  readonly authority = "";
  readonly scheme = "";
  readonly connection: ConnectionView;
  readonly #recordOf: (() => RequestRecord) | undefined;

  constructor(connection: ConnectionView, recordOf?: () => RequestRecord) {
    this.connection = connection;
    this.#recordOf = recordOf;
  }

  /** What its PROXY header and the filters before have said of the connection. */
  get metadata(): DynamicMetadata | undefined {
    return this.connection.metadata;
  }

  /** As far as the connection has come. */
  get record(): RequestRecord | undefined {
    return this.#recordOf?.();
  }

  header(): undefined {
    return undefined;
  }
}

/** As in Envoy's access log; white space in policy names is replaced so the field stays one word. */
export function deniedDetails(verdict: RbacVerdict): string {
  const policy = (verdict.policy ?? "none").replaceAll(/[\s[\]]/g, (char) =>
    char === "[" || char === "]" ? char : "_",
  );
  return `rbac_access_denied_matched_policy[${policy}]`;
}

interface RulesPlace {
  readonly path: string;
  readonly isHttp: boolean;
  readonly choice: CodeChoice;
}

const noChance = (): number => 0;

function compileRules(
  rules: RBAC,
  { path, isHttp, choice }: RulesPlace,
): (request: RequestView) => RbacVerdict {
  if (rules.auditLoggingOptions !== undefined) {
    refuse(`${path}.audit_logging_options`, "is not supported");
  }
  // Envoy walks policies in name order; the first match names the verdict.
  const policies = Object.entries(rules.policies).toSorted(([a], [b]) => (a < b ? -1 : 1));
  const conditions = policies.map(([name, policy]) =>
    new PolicyPlan(isHttp).policy(policy, `${path}.policies[${name}]`),
  );
  const whenMatched = rules.action !== Action.DENY;
  const whenNot = rules.action !== Action.ALLOW;
  if (!Object.values(Action).includes(rules.action) || rules.action === Action.UNRECOGNIZED) {
    refuse(`${path}.action`, `${rules.action} is not known`);
  }
  const unmatched: RbacVerdict = { isAllowed: whenNot, policy: undefined };
  const verdicts = policies.map(([name]) => ({ isAllowed: whenMatched, policy: name }));
  const firstMatch = compileFirstMatch(conditions, choice);
  return (request) => verdicts[firstMatch(request, pathOf(request.path), noChance)] ?? unmatched;
}

/** Policies as conditions. HTTP criteria never match where there is no HTTP. */
class PolicyPlan {
  readonly #isHttp: boolean;

  constructor(isHttp: boolean) {
    this.#isHttp = isHttp;
  }

  policy(policy: Policy, path: string): Condition {
    if (policy.checkedCondition !== undefined) {
      refuse(`${path}.checked_condition`, "is not supported");
    }
    if (policy.celConfig !== undefined) refuse(`${path}.cel_config`, "is not supported");
    const { condition } = policy;
    if (policy.permissions.length === 0) refuse(`${path}.permissions`, "at least one is required");
    if (policy.principals.length === 0) refuse(`${path}.principals`, "at least one is required");
    const permissions = policy.permissions.map((permission, i) =>
      this.#permission(permission, `${path}.permissions[${i}]`),
    );
    const principals = policy.principals.map((principal, i) =>
      this.#principal(principal, `${path}.principals[${i}]`),
    );
    const expressed =
      condition === undefined ? [] : [celCondition(condition, `${path}.condition`, this.#isHttp)];
    return allOf([anyOf(permissions), anyOf(principals), ...expressed]);
  }

  #permission(permission: Permission, path: string): Condition {
    const { andRules, orRules, notRule } = permission;
    if (andRules !== undefined)
      return allOf(this.#permissions(andRules.rules, `${path}.and_rules`));
    if (orRules !== undefined) return anyOf(this.#permissions(orRules.rules, `${path}.or_rules`));
    if (notRule !== undefined) return not(this.#permission(notRule, `${path}.not_rule`));
    if (permission.any === true) return always;
    if (permission.header !== undefined) {
      return this.#header(permission.header, `${path}.header`);
    }
    if (permission.urlPath !== undefined) return this.#path(permission.urlPath, `${path}.url_path`);
    if (permission.destinationIp !== undefined) {
      const range = parseIpRange(permission.destinationIp, `${path}.destination_ip`);
      return { kind: "address", of: "destination", range };
    }
    if (permission.destinationPort !== undefined) {
      const from = permission.destinationPort;
      const place = `${path}.destination_port`;
      return portsOf({ start: from, end: from + 1 }, place);
    }
    if (permission.destinationPortRange !== undefined) {
      return portsOf(permission.destinationPortRange, `${path}.destination_port_range`);
    }
    if (permission.requestedServerName !== undefined) {
      const test = textTestOf(permission.requestedServerName, `${path}.requested_server_name`);
      return { kind: "server-name", test };
    }
    if (permission.uriTemplate !== undefined) {
      const place = `${path}.uri_template`;
      const test = compileTemplateTest(templateOf(permission.uriTemplate, place), place);
      return {
        kind: "text",
        source: { kind: "path" },
        test,
        isInverted: false,
        whenMissing: false,
      };
    }
    const metadata = metadataOf(permission, path);
    if (metadata !== undefined) return metadata;
    return refuse(path, `this kind of permission is not supported (${setFields(permission)})`);
  }

  #permissions(rules: readonly Permission[], path: string): readonly Condition[] {
    if (rules.length === 0) refuse(`${path}.rules`, "at least one is required");
    return rules.map((rule, i) => this.#permission(rule, `${path}.rules[${i}]`));
  }

  #principal(principal: Principal, path: string): Condition {
    const { andIds, orIds, notId } = principal;
    if (andIds !== undefined) return allOf(this.#principals(andIds.ids, `${path}.and_ids`));
    if (orIds !== undefined) return anyOf(this.#principals(orIds.ids, `${path}.or_ids`));
    if (notId !== undefined) return not(this.#principal(notId, `${path}.not_id`));
    if (principal.any === true) return always;
    if (principal.authenticated !== undefined) {
      const name = principal.authenticated.principalName;
      if (name === undefined) return { kind: "principal", test: undefined };
      const test = textTestOf(name, `${path}.authenticated.principal_name`);
      return { kind: "principal", test };
    }
    if (principal.directRemoteIp !== undefined) {
      const range = parseIpRange(principal.directRemoteIp, `${path}.direct_remote_ip`);
      return { kind: "address", of: "direct", range };
    }
    if (principal.sourceIp !== undefined) {
      const range = parseIpRange(principal.sourceIp, `${path}.source_ip`);
      return { kind: "address", of: "source", range };
    }
    if (principal.remoteIp !== undefined) {
      const range = parseIpRange(principal.remoteIp, `${path}.remote_ip`);
      return { kind: "address", of: "remote", range };
    }
    if (principal.header !== undefined) return this.#header(principal.header, `${path}.header`);
    if (principal.urlPath !== undefined) return this.#path(principal.urlPath, `${path}.url_path`);
    if (principal.filterState?.key === "io.istio.peer_principal") {
      const test = textTestOf(
        principal.filterState.stringMatch,
        `${path}.filter_state.string_match`,
      );
      // By its certificate, or as a tunnel's end has told of a connection that has none.
      const told = stateCondition(principal.filterState, `${path}.filter_state`);
      const hasNone = not({ kind: "peer", test: undefined });
      return anyOf([{ kind: "peer", test }, allOf([hasNone, told])]);
    }
    if (principal.filterState !== undefined) {
      return stateCondition(principal.filterState, `${path}.filter_state`);
    }
    const metadata = metadataOf(principal, path);
    if (metadata !== undefined) return metadata;
    return refuse(path, `this kind of principal is not supported (${setFields(principal)})`);
  }

  #principals(ids: readonly Principal[], path: string): readonly Condition[] {
    if (ids.length === 0) refuse(`${path}.ids`, "at least one is required");
    return ids.map((id, i) => this.#principal(id, `${path}.ids[${i}]`));
  }

  #header(matcher: HeaderMatcher, path: string): Condition {
    // As Envoy: a denial that could never come to pass would be taken for one that does.
    if (!this.#isHttp) return refuse(path, "is not supported for connections");
    return headerCondition(matcher, path);
  }

  #path(matcher: PathMatcher, path: string): Condition {
    const test = textTestOf(matcher.path, `${path}.path`);
    if (!this.#isHttp) return never;
    // CONNECT has none: what is allowed for any path is not allowed for it.
    const source = { kind: "route-path" } as const;
    return { kind: "text", source, test, isInverted: false, whenMissing: false };
  }
}

/** Of a request, or of a connection. */
function metadataOf(
  { metadata, sourcedMetadata }: Pick<Permission, "metadata" | "sourcedMetadata">,
  path: string,
): Condition | undefined {
  if (metadata !== undefined) {
    return { kind: "metadata", matches: compileMetadataMatcher(metadata, `${path}.metadata`) };
  }
  if (sourcedMetadata === undefined) return undefined;
  const place = `${path}.sourced_metadata`;
  if (sourcedMetadata.metadataSource !== MetadataSource.DYNAMIC) {
    refuse(`${place}.metadata_source`, "only DYNAMIC is supported");
  }
  const { metadataMatcher } = sourcedMetadata;
  return {
    kind: "metadata",
    matches: compileMetadataMatcher(metadataMatcher, `${place}.metadata_matcher`),
  };
}

const portEnd = 65_536;

/** As Envoy: what no port lies in is a mistake; and 0 stands for no port at all, of a listener inside. */
function portsOf(
  { start, end }: { readonly start: number; readonly end: number },
  path: string,
): Condition {
  if (start < 0 || end > portEnd || start >= end) refuse(path, `${start} to ${end} holds no ports`);
  const from = Math.max(start, 1);
  return from < end ? { kind: "port", from, until: end } : never;
}

function setFields(message: object): string {
  const fields = Object.entries(message)
    .filter(([field, value]) => value !== undefined && field !== "_unknownFields")
    .map(([field]) => field);
  return fields.length === 0 ? "none is set" : fields.join(", ");
}
