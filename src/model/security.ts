/**
 * PeerAuthentication and AuthorizationPolicy. Everything wrong in one of these makes it unsound as a
 * whole: whoever reads the result must then deny (see `BrokenResource`), never act on a part.
 */
import type { LabelSelector } from "./matching.ts";
import { labels } from "./matching.ts";
import { cidr, isCidr, nonEmptyText, oneOf, text } from "./scalar-types.ts";
import type { Place, Type, Unhonoured } from "./schema.ts";
import { list, object, record, refine } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";
import { yamlField } from "./yaml.ts";

export type MtlsMode = "UNSET" | "DISABLE" | "PERMISSIVE" | "STRICT";

export interface PeerAuthenticationSpec {
  readonly selector?: LabelSelector;
  readonly mtls?: { readonly mode?: MtlsMode };
  /** By the port the application listens on. */
  readonly portLevelMtls?: Readonly<Record<string, { readonly mode?: MtlsMode }>>;
}

interface RawPeerAuthentication extends Omit<PeerAuthenticationSpec, "selector"> {
  readonly selector?: { readonly matchLabels?: LabelSelector };
}

const matchLabels: Type<{ readonly matchLabels?: LabelSelector }> = object<{
  readonly matchLabels?: LabelSelector;
}>({ matchLabels: labels });

const mutualTls: Type<{ readonly mode?: MtlsMode }> = object<{ readonly mode?: MtlsMode }>({
  mode: oneOf("UNSET", "DISABLE", "PERMISSIVE", "STRICT"),
});

function withoutBox<Raw extends { readonly selector?: { readonly matchLabels?: LabelSelector } }>(
  raw: Raw,
): Omit<Raw, "selector"> & { readonly selector?: LabelSelector } {
  const { selector, ...rest } = raw;
  const chosen = selector?.matchLabels;
  return chosen === undefined ? rest : { ...rest, selector: chosen };
}

export const peerAuthenticationSpec: Type<PeerAuthenticationSpec> = refine(
  object<RawPeerAuthentication>(
    { selector: matchLabels, mtls: mutualTls, portLevelMtls: record(mutualTls) },
    {
      check(spec, node, place) {
        const ports = Object.keys(spec.portLevelMtls ?? {});
        for (const port of ports) {
          if (/^[1-9][0-9]{0,4}$/.test(port) && Number(port) < 65536) continue;
          const message = `${port} is not a port`;
          place
            .field("portLevelMtls")
            .complain(node.position, { code: "config.wrong-type", message });
        }
        const isUnselected = Object.keys(spec.selector?.matchLabels ?? {}).length === 0;
        if (ports.length > 0 && isUnselected) {
          place.field("portLevelMtls").complain(node.position, {
            code: "peerauthentication.ports-without-selector",
            message: "portLevelMtls needs a selector",
            hint: "say by selector.matchLabels which workloads' ports are meant",
          });
        }
      },
    },
  ),
  (raw): PeerAuthenticationSpec => withoutBox(raw),
);

export interface AuthorizationPolicySpec {
  readonly selector?: LabelSelector;
  readonly action?: "ALLOW" | "DENY";
  /** None and ALLOW: nothing is allowed. */
  readonly rules?: readonly AuthorizationRule[];
}

export interface AuthorizationRule {
  readonly from?: readonly { readonly source: SourceMatch }[];
  readonly to?: readonly { readonly operation: OperationMatch }[];
  readonly when?: readonly Condition[];
}

export interface SourceMatch {
  readonly principals?: readonly string[];
  readonly notPrincipals?: readonly string[];
  readonly namespaces?: readonly string[];
  readonly notNamespaces?: readonly string[];
  readonly serviceAccounts?: readonly string[];
  readonly notServiceAccounts?: readonly string[];
  readonly ipBlocks?: readonly string[];
  readonly notIpBlocks?: readonly string[];
  readonly remoteIpBlocks?: readonly string[];
  readonly notRemoteIpBlocks?: readonly string[];
}

export interface OperationMatch {
  readonly hosts?: readonly string[];
  readonly notHosts?: readonly string[];
  readonly ports?: readonly string[];
  readonly notPorts?: readonly string[];
  readonly methods?: readonly string[];
  readonly notMethods?: readonly string[];
  readonly paths?: readonly string[];
  readonly notPaths?: readonly string[];
}

export interface Condition {
  readonly key: string;
  readonly values?: readonly string[];
  readonly notValues?: readonly string[];
}

const stops = (effect: string): Unhonoured => ({ effect, rest: "stops" });
const texts: Type<readonly string[]> = list(nonEmptyText);
const cidrs: Type<readonly string[]> = list(cidr);

const portText: Type<string> = refine(text, (value, node, place) =>
  /^[1-9][0-9]{0,4}$/.test(value) && Number(value) < 65536
    ? value
    : place.complain(node.position, {
        code: "config.out-of-range",
        message: `${JSON.stringify(value)} is not a port`,
      }),
);

const path: Type<string> = refine(nonEmptyText, (value, node, place) =>
  value.includes("{")
    ? place.complain(node.position, {
        code: "config.not-honoured",
        message: `path templates are not honoured yet (${value} matches by segments); ${place.findings.whenUnsound}`,
        hint: "use exact paths, /prefix* or *suffix",
      })
    : value,
);

/** `<namespace>/<name>`, or a name in the policy's namespace; Istio knows no wildcards here. */
const serviceAccount: Type<string> = refine(nonEmptyText, (value, node, place) =>
  /^(?:[a-z0-9-]+\/)?[a-z0-9][a-z0-9.-]*$/.test(value)
    ? value
    : place.complain(node.position, {
        code: "authorizationpolicy.bad-service-account",
        message: `${JSON.stringify(value)} is not a service account`,
        hint: "write <namespace>/<name>, or <name> for one of the policy's namespace",
      }),
);

const serviceAccountFields = ["serviceAccounts", "notServiceAccounts"];
const identityFields = ["principals", "notPrincipals", "namespaces", "notNamespaces"];

const checkSource: Check = (value, node, place) => {
  refuseEmpty("source")(value, node, place);
  const given = (names: readonly string[]): readonly string[] =>
    names.filter((name) => yamlField(node, name) !== undefined);
  const [accounts, others] = [given(serviceAccountFields), given(identityFields)];
  if (accounts.length === 0 || others.length === 0) return;
  const message = `${accounts.join(", ")} and ${others.join(", ")} exclude each other`;
  const hint = "put them into sources of their own";
  place.complain(node.position, { code: "config.conflict", message, hint });
};

const source: Type<SourceMatch> = object<SourceMatch>(
  {
    principals: texts,
    notPrincipals: texts,
    namespaces: texts,
    notNamespaces: texts,
    serviceAccounts: list(serviceAccount),
    notServiceAccounts: list(serviceAccount),
    ipBlocks: cidrs,
    notIpBlocks: cidrs,
    remoteIpBlocks: cidrs,
    notRemoteIpBlocks: cidrs,
  },
  {
    unhonoured: {
      requestPrincipals: stops("matches the subject of a JWT"),
      notRequestPrincipals: stops("matches the subject of a JWT"),
      trustDomains: stops("matches the peer's trust domain"),
      notTrustDomains: stops("matches the peer's trust domain"),
    },
    check: checkSource,
  },
);

const operation: Type<OperationMatch> = object<OperationMatch>(
  {
    hosts: texts,
    notHosts: texts,
    ports: list(portText),
    notPorts: list(portText),
    methods: texts,
    notMethods: texts,
    paths: list(path),
    notPaths: list(path),
  },
  { check: refuseEmpty("operation") },
);

type Check = NonNullable<NonNullable<Parameters<typeof object<object>>[1]>["check"]>;

/** An empty list in a policy reads like "nobody" and matches like "everybody": refused, as in Istio. */
function refuseEmpty(what: string): Check {
  return (value, node, place) => {
    if (node.kind === "mapping" && node.entries.length === 0) {
      const message = `${what} says nothing`;
      place.complain(node.position, { code: "config.missing", message });
    }
    for (const name of Object.keys(value)) {
      const items = yamlField(node, name);
      if (items?.kind !== "sequence" || items.items.length > 0) continue;
      const at = place.field(name);
      at.complain(node.position, { code: "config.too-few", message: `${name} is empty` });
    }
  };
}

const conditionKey =
  /^(?:request\.headers\[[!#$%&'*+.^_`|~0-9A-Za-z-]+\]|source\.(?:ip|namespace|principal|serviceAccount)|remote\.ip|destination\.(?:ip|port)|connection\.sni)$/;
const laterKey = /^(?:request\.auth\.|source\.trustDomain$|experimental\.envoy\.filters\.)/;

const condition: Type<Condition> = object<Condition>(
  {
    key: refine(text, (value, node, place) => {
      if (conditionKey.test(value)) return value;
      const isKnown = laterKey.test(value);
      return place.complain(node.position, {
        code: isKnown ? "config.not-honoured" : "authorizationpolicy.unknown-key",
        message: `${value} is ${isKnown ? "not honoured yet" : "not a known attribute"}; ${place.findings.whenUnsound}`,
      });
    }),
    values: texts,
    notValues: texts,
  },
  {
    required: ["key"],
    check(value, node, place) {
      checkConditionValues(value, node, place);
      const isGiven = (name: string): boolean => {
        const written = yamlField(node, name);
        return (
          written !== undefined && !(written.kind === "sequence" && written.items.length === 0)
        );
      };
      if (isGiven("values") || isGiven("notValues")) return;
      const message = "values or notValues is needed";
      place.complain(node.position, { code: "config.missing", message });
    },
  },
);

function checkConditionValues(value: Partial<Condition>, node: YamlNode, place: Place): void {
  const { key = "" } = value;
  const isAddressKey = key.endsWith(".ip");
  if (key === "source.serviceAccount") {
    for (const name of ["values", "notValues"]) {
      const written = yamlField(node, name);
      if (written !== undefined) list(serviceAccount).decode(written, place.field(name));
    }
  }
  if (!isAddressKey && key !== "destination.port") return;
  for (const one of [...(value.values ?? []), ...(value.notValues ?? [])]) {
    const isGood = isAddressKey
      ? isCidr(one)
      : /^[1-9][0-9]{0,4}$/.test(one) && Number(one) < 65536;
    if (isGood) continue;
    const message = `${JSON.stringify(one)} is not ${isAddressKey ? "an address or range" : "a port"}`;
    place.complain(node.position, { code: "config.bad-address", message });
  }
}

const rule: Type<AuthorizationRule> = object<AuthorizationRule>(
  {
    from: list(object<{ readonly source: SourceMatch }>({ source }, { required: ["source"] }), {
      min: 1,
    }),
    to: list(
      object<{ readonly operation: OperationMatch }>({ operation }, { required: ["operation"] }),
      { min: 1 },
    ),
    when: list(condition, { min: 1 }),
  },
  {},
);

interface RawAuthorizationPolicy extends Omit<AuthorizationPolicySpec, "selector"> {
  readonly selector?: { readonly matchLabels?: LabelSelector };
}

export const authorizationPolicySpec: Type<AuthorizationPolicySpec> = refine(
  object<RawAuthorizationPolicy>(
    {
      selector: matchLabels,
      action: refine(oneOf("ALLOW", "DENY", "AUDIT", "CUSTOM"), (value, node, place) =>
        value === "ALLOW" || value === "DENY"
          ? value
          : place.complain(node.position, {
              code: "config.not-honoured",
              message: `action ${value} is not honoured yet; ${place.findings.whenUnsound}`,
            }),
      ),
      rules: list(rule),
    },
    {
      unhonoured: {
        targetRef: stops("attaches the policy to a gateway or service"),
        targetRefs: stops("attaches the policy to gateways or services"),
        provider: stops("asks an external authorizer"),
      },
      check(spec, node, place) {
        if (spec.action !== "DENY" || (spec.rules ?? []).length > 0) return;
        place.complain(node.position, {
          code: "authorizationpolicy.deny-nothing",
          severity: "warning",
          message: "action DENY without rules denies nothing",
          hint: "write rules: [{}] to deny everything",
        });
      },
    },
  ),
  (raw): AuthorizationPolicySpec => withoutBox(raw),
);
