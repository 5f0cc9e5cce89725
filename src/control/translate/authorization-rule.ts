/** One rule of an AuthorizationPolicy as an RBAC policy: permissions from `to`, principals from `from`. */
import type {
  AuthorizationRule,
  Condition,
  OperationMatch,
  SourceMatch,
} from "../../model/security.ts";
import type {
  PermissionSchema,
  PolicySchema,
  PrincipalSchema,
} from "../../wire/gen/es/envoy/config/rbac/v3/rbac_pb.ts";
import type { StringMatcherSchema } from "../../wire/gen/es/envoy/type/matcher/v3/string_pb.ts";
import type { Init } from "./proto.ts";
import { cidrRange } from "./proto.ts";

export type PolicyInit = Init<typeof PolicySchema>;
type Permission = Init<typeof PermissionSchema>;
type Principal = Init<typeof PrincipalSchema>;
type Text = Init<typeof StringMatcherSchema>;

export interface RuleContext {
  readonly kind: "http" | "tcp";
  readonly action: "ALLOW" | "DENY";
  readonly port: number | undefined;
  readonly trustDomain: string;
  /** PROXY headers tell who connects from outside: the socket ends at the edge. */
  readonly isRelayed: boolean;
  /** The policy's own, for service accounts that are written without one. */
  readonly namespace: string;
}

/** Undefined when the rule can never match here. */
export function rulePolicy(rule: AuthorizationRule, context: RuleContext): PolicyInit | undefined {
  const conditions = rule.when ?? [];
  const permissions = alternatives(rule.to ?? [], ({ operation }) =>
    operationPermissions(operation, context),
  );
  const principals = alternatives(rule.from ?? [], ({ source }) =>
    sourcePrincipals(source, context),
  );
  if (permissions === undefined || principals === undefined) return undefined;
  const morePermissions: Permission[] = [];
  const morePrincipals: Principal[] = [];
  for (const condition of conditions) {
    const built = conditionRules(condition, context);
    if (built === "never") return undefined;
    morePermissions.push(...built.permissions);
    morePrincipals.push(...built.principals);
  }
  return {
    permissions: permissions.map((parts) => allPermissions([...parts, ...morePermissions])),
    principals: principals.map((parts) => allPrincipals([...parts, ...morePrincipals])),
  };
}

/** `never`: cannot match; otherwise what must all hold. */
type Parts<T> = readonly T[] | "never";

/** Any of the items; no item means no condition. Undefined when none of them can match. */
function alternatives<Item, T>(
  items: readonly Item[],
  build: (item: Item) => Parts<T>,
): readonly (readonly T[])[] | undefined {
  if (items.length === 0) return [[]];
  const built = items.map(build).filter((parts) => parts !== "never");
  return built.length === 0 ? undefined : built;
}

function allPermissions(rules: readonly Permission[]): Permission {
  if (rules.length === 0) return { rule: { case: "any", value: true } };
  return { rule: { case: "andRules", value: { rules: [...rules] } } };
}

function allPrincipals(ids: readonly Principal[]): Principal {
  if (ids.length === 0) return { identifier: { case: "any", value: true } };
  return { identifier: { case: "andIds", value: { ids: [...ids] } } };
}

function anyPermission(rules: readonly Permission[]): Permission {
  return { rule: { case: "orRules", value: { rules: [...rules] } } };
}

function notPermission(rules: readonly Permission[]): Permission {
  return { rule: { case: "notRule", value: anyPermission(rules) } };
}

function anyPrincipal(ids: readonly Principal[]): Principal {
  return { identifier: { case: "orIds", value: { ids: [...ids] } } };
}

function notPrincipal(ids: readonly Principal[]): Principal {
  return { identifier: { case: "notId", value: anyPrincipal(ids) } };
}

const httpFields = ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths"] as const;

function operationPermissions(operation: OperationMatch, context: RuleContext): Parts<Permission> {
  const needsHttp = httpFields.some((field) => operation[field] !== undefined);
  if (needsHttp && context.kind === "tcp" && context.action === "ALLOW") return "never";
  const ports = portPermissions(operation, context);
  if (ports === "never" || context.kind === "tcp") return ports;
  const rules: Permission[] = [...ports];
  const add = (
    positive: readonly string[] | undefined,
    negative: readonly string[] | undefined,
    build: (value: string, closes: boolean) => Permission,
  ): void => {
    const isDeny = context.action === "DENY";
    if (positive !== undefined) {
      rules.push(anyPermission(positive.map((value) => build(value, isDeny))));
    }
    if (negative !== undefined) {
      rules.push(notPermission(negative.map((value) => build(value, !isDeny))));
    }
  };
  add(operation.hosts, operation.notHosts, hostPermission);
  add(operation.methods, operation.notMethods, (value) => headerPermission(":method", value));
  add(operation.paths, operation.notPaths, (value) => ({
    rule: { case: "urlPath", value: { rule: { case: "path", value: textMatch(value) } } },
  }));
  return rules;
}

/** Where the port is known beforehand its condition is decided here, and costs a request nothing. */
function portPermissions(operation: OperationMatch, context: RuleContext): Parts<Permission> {
  const { ports, notPorts } = operation;
  if (context.port !== undefined) {
    const own = String(context.port);
    if (ports !== undefined && !ports.includes(own)) return "never";
    if (notPorts?.includes(own) === true) return "never";
    return [];
  }
  return [
    ...(ports === undefined ? [] : [anyPermission(ports.map(portPermission))]),
    ...(notPorts === undefined ? [] : [notPermission(notPorts.map(portPermission))]),
  ];
}

function portPermission(port: string): Permission {
  return { rule: { case: "destinationPort", value: Number(port) } };
}

/**
 * Hosts are compared without case, and whole, as Istio does: `a.example` is not `a.example:8080`. Where
 * a match closes, what the client adds to a name without changing it (a port, a colon, the dot of the
 * root) must not get around it, so there it is the same host.
 */
function hostPermission(value: string, closes: boolean): Permission {
  if (value === "*") return headerPermission(":authority", value);
  const whole = authority({ ...textMatch(value), ignoreCase: true });
  if (!closes || value.endsWith("*")) return whole;
  const rooted = authority({ ...textMatch(`${value}.`), ignoreCase: true });
  if (value.startsWith("*")) {
    const withPort = regexMatch(`(?i).*${escaped(value.slice(1))}\\.?:[0-9]*`);
    return anyPermission([whole, rooted, authority(withPort)]);
  }
  const withPorts = [`${value}:`, `${value}.:`].map((start) =>
    authority({ matchPattern: { case: "prefix", value: start }, ignoreCase: true }),
  );
  return anyPermission([whole, rooted, ...withPorts]);
}

function authority(match: Text): Permission {
  return {
    rule: {
      case: "header",
      value: { name: ":authority", headerMatchSpecifier: { case: "stringMatch", value: match } },
    },
  };
}

function headerPermission(name: string, value: string): Permission {
  return {
    rule: {
      case: "header",
      value:
        value === "*"
          ? { name, headerMatchSpecifier: { case: "presentMatch", value: true } }
          : { name, headerMatchSpecifier: { case: "stringMatch", value: textMatch(value) } },
    },
  };
}

/** Istio's three forms: exact, `prefix*`, `*suffix`; `*` alone is anything that is there. */
function textMatch(value: string): Text {
  if (value === "*") return { matchPattern: { case: "safeRegex", value: { regex: ".+" } } };
  if (value.startsWith("*")) return { matchPattern: { case: "suffix", value: value.slice(1) } };
  if (value.endsWith("*")) return { matchPattern: { case: "prefix", value: value.slice(0, -1) } };
  return { matchPattern: { case: "exact", value } };
}

function sourcePrincipals(source: SourceMatch, context: RuleContext): Parts<Principal> {
  const ids: Principal[] = [];
  const add = (
    positive: readonly string[] | undefined,
    negative: readonly string[] | undefined,
    build: (value: string) => Principal,
  ): void => {
    if (positive !== undefined) ids.push(anyPrincipal(positive.map(build)));
    if (negative !== undefined) ids.push(notPrincipal(negative.map(build)));
  };
  add(source.principals, source.notPrincipals, (value) => principalId(value, context));
  add(source.namespaces, source.notNamespaces, namespaceId);
  add(source.serviceAccounts, source.notServiceAccounts, (value) =>
    serviceAccountId(value, context),
  );
  add(source.ipBlocks, source.notIpBlocks, (block) => peerAddress(block, context));
  // Of a TCP connection it is the peer's own address.
  add(source.remoteIpBlocks, source.notRemoteIpBlocks, (block) => ({
    identifier: { case: "remoteIp", value: cidrRange(block) },
  }));
  return ids;
}

/** Of the connection's client. Where nobody relays, both names are the same address. */
function peerAddress(block: string, { isRelayed }: RuleContext): Principal {
  const value = cidrRange(block);
  if (isRelayed) return { identifier: { case: "sourceIp", value } };
  return { identifier: { case: "directRemoteIp", value } };
}

function authenticated(match: Text): Principal {
  return { identifier: { case: "authenticated", value: { principalName: match } } };
}

const localTrustDomain = "cluster.local/";

/**
 * A principal is written without its scheme: `cluster.local/ns/default/sa/checkout`. As in Istio the
 * trust domain `cluster.local` is the mesh's own, whatever that is called.
 */
function principalId(written: string, { trustDomain }: RuleContext): Principal {
  const value = written.startsWith(localTrustDomain)
    ? `${trustDomain}/${written.slice(localTrustDomain.length)}`
    : written;
  if (value === "*") return authenticated(regexMatch(".+"));
  if (value.startsWith("*")) return authenticated(regexMatch(`.*${escaped(value.slice(1))}`));
  const match = textMatch(`spiffe://${value}`);
  return authenticated(match);
}

function namespaceId(value: string): Principal {
  return authenticated(regexMatch(`.*/ns/${wildcard(value)}/.*`));
}

/** `<namespace>/<service account>`, or one of the policy's namespace. */
function serviceAccountId(value: string, context: RuleContext): Principal {
  const slash = value.indexOf("/");
  const namespace = slash < 0 ? context.namespace : value.slice(0, slash);
  const account = value.slice(slash + 1);
  return authenticated(regexMatch(`.*/ns/${escaped(namespace)}/sa/${escaped(account)}`));
}

function regexMatch(regex: string): Text {
  return { matchPattern: { case: "safeRegex", value: { regex } } };
}

function wildcard(value: string): string {
  return value.split("*").map(escaped).join("[^/]*");
}

function escaped(value: string): string {
  return value.replaceAll(/[\\^$.*+?()[\]{}|]/g, (char) => `\\${char}`);
}

interface ConditionRules {
  readonly permissions: readonly Permission[];
  readonly principals: readonly Principal[];
}

/** `when`: destination attributes are permissions, the others principals, as RBAC divides them. */
function conditionRules(condition: Condition, context: RuleContext): ConditionRules | "never" {
  const { key, values, notValues } = condition;
  const header = /^request\.headers\[(.+)\]$/.exec(key)?.[1];
  if (header !== undefined && context.kind === "tcp") {
    return context.action === "ALLOW" ? "never" : { permissions: [], principals: [] };
  }
  if (key === "destination.port" && context.port !== undefined) {
    const own = String(context.port);
    const holds = (values?.includes(own) ?? true) && notValues?.includes(own) !== true;
    return holds ? { permissions: [], principals: [] } : "never";
  }
  const asPermission = permissionBuilder(key);
  if (asPermission !== undefined) {
    return {
      permissions: [
        ...(values === undefined ? [] : [anyPermission(values.map(asPermission))]),
        ...(notValues === undefined ? [] : [notPermission(notValues.map(asPermission))]),
      ],
      principals: [],
    };
  }
  const asPrincipal = principalBuilder(key, header, context);
  if (asPrincipal === undefined) {
    // The model refuses unknown keys; one that is new to this table must not open anything.
    return context.action === "ALLOW" ? "never" : { permissions: [], principals: [] };
  }
  return {
    permissions: [],
    principals: [
      ...(values === undefined ? [] : [anyPrincipal(values.map(asPrincipal))]),
      ...(notValues === undefined ? [] : [notPrincipal(notValues.map(asPrincipal))]),
    ],
  };
}

function permissionBuilder(key: string): ((value: string) => Permission) | undefined {
  switch (key) {
    case "destination.ip":
      return (value) => ({ rule: { case: "destinationIp", value: cidrRange(value) } });
    case "destination.port":
      return portPermission;
    case "connection.sni":
      return (value) => ({ rule: { case: "requestedServerName", value: textMatch(value) } });
    default:
      return undefined;
  }
}

function principalBuilder(
  key: string,
  header: string | undefined,
  context: RuleContext,
): ((value: string) => Principal) | undefined {
  if (header !== undefined) {
    return (value) => ({
      identifier: {
        case: "header",
        value: {
          name: header.toLowerCase(),
          headerMatchSpecifier:
            value === "*"
              ? { case: "presentMatch", value: true }
              : { case: "stringMatch", value: textMatch(value) },
        },
      },
    });
  }
  switch (key) {
    case "source.ip":
      return (value) => peerAddress(value, context);
    case "remote.ip":
      return (value) => ({ identifier: { case: "remoteIp", value: cidrRange(value) } });
    case "source.namespace":
      return namespaceId;
    case "source.principal":
      return (value) => principalId(value, context);
    case "source.serviceAccount":
      return (value) => serviceAccountId(value, context);
    default:
      return undefined;
  }
}
