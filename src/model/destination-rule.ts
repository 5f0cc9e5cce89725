/** DestinationRule: what happens to traffic after routing, per host, port and subset. */
import type { ConnectionPool } from "./connection-pool.ts";
import { connectionPool, limit } from "./connection-pool.ts";
import type { LabelSelector } from "./matching.ts";
import { labels, workloadSelector } from "./matching.ts";
import {
  duration,
  flag,
  headerName,
  hostname,
  integer,
  nonEmptyText,
  oneOf,
  portNumber,
  text,
} from "./scalar-types.ts";
import type { Type, Unhonoured } from "./schema.ts";
import { list, object } from "./schema.ts";
import { yamlField } from "./yaml.ts";

export interface DestinationRuleSpec {
  readonly host: string;
  readonly trafficPolicy?: TrafficPolicy;
  readonly subsets?: readonly Subset[];
  readonly exportTo?: readonly string[];
  /** The clients it is for. */
  readonly workloadSelector?: LabelSelector;
}

export interface Subset {
  readonly name: string;
  readonly labels?: LabelSelector;
  readonly trafficPolicy?: TrafficPolicy;
}

export interface PortPolicy {
  readonly loadBalancer?: LoadBalancer;
  readonly connectionPool?: ConnectionPool;
  readonly outlierDetection?: OutlierDetection;
  readonly tls?: ClientTls;
}

export interface TrafficPolicy extends PortPolicy {
  readonly tunnel?: Tunnel;
  readonly proxyProtocol?: ProxyProtocol;
  readonly portLevelSettings?: readonly PortLevelSettings[];
}

export interface PortLevelSettings extends PortPolicy {
  readonly port: { readonly number?: number };
}

export type SimpleBalancer =
  | "UNSPECIFIED"
  | "RANDOM"
  | "PASSTHROUGH"
  | "ROUND_ROBIN"
  | "LEAST_REQUEST"
  | "LEAST_CONN";

export interface LoadBalancer {
  readonly simple?: SimpleBalancer;
  readonly consistentHash?: ConsistentHash;
}

export interface ConsistentHash {
  readonly httpHeaderName?: string;
  readonly httpCookie?: { readonly name: string; readonly path?: string; readonly ttl?: number };
  readonly useSourceIp?: boolean;
  readonly httpQueryParameterName?: string;
  readonly ringHash?: { readonly minimumRingSize?: number };
  readonly maglev?: { readonly tableSize?: number };
  readonly minimumRingSize?: number;
}

/** Connections begin with a header that tells whom they are made for; V1 unless told. */
export interface ProxyProtocol {
  readonly version?: "V1" | "V2";
}

/** Connections go through a proxy, which is the destination, and which is asked to go on to a target. */
export interface Tunnel {
  readonly protocol?: "CONNECT" | "POST";
  readonly targetHost: string;
  readonly targetPort: number;
}

export interface OutlierDetection {
  readonly splitExternalLocalOriginErrors?: boolean;
  readonly consecutiveLocalOriginFailures?: number;
  readonly consecutiveGatewayErrors?: number;
  readonly consecutive5xxErrors?: number;
  readonly interval?: number;
  readonly baseEjectionTime?: number;
  readonly maxEjectionPercent?: number;
  readonly minHealthPercent?: number;
}

export interface ClientTls {
  readonly mode: "DISABLE" | "SIMPLE" | "MUTUAL" | "ISTIO_MUTUAL";
  readonly clientCertificate?: string;
  readonly privateKey?: string;
  readonly caCertificates?: string;
  /** A file of what its authorities have taken back: who is on no list of theirs is refused, too. */
  readonly caCrl?: string;
  readonly subjectAltNames?: readonly string[];
  readonly sni?: string;
  readonly insecureSkipVerify?: boolean;
}

const later = (effect: string): Unhonoured => ({ effect, rest: "acts" });

const consistentHash: Type<ConsistentHash> = object<ConsistentHash>(
  {
    httpHeaderName: headerName,
    httpCookie: object<NonNullable<ConsistentHash["httpCookie"]>>(
      { name: nonEmptyText, path: text, ttl: duration() },
      {
        required: ["name"],
        unhonoured: { attributes: later("adds attributes to the generated cookie") },
      },
    ),
    useSourceIp: flag,
    httpQueryParameterName: nonEmptyText,
    ringHash: object<{ readonly minimumRingSize?: number }>({
      minimumRingSize: integer({ min: 1, max: 8_388_608 }),
    }),
    maglev: object<{ readonly tableSize?: number }>({
      tableSize: integer({ min: 2, max: 5_000_011 }),
    }),
    minimumRingSize: integer({ min: 0, max: 8_388_608 }),
  },
  {
    exactlyOneOf: [["httpHeaderName", "httpCookie", "useSourceIp", "httpQueryParameterName"]],
    oneOf: [["ringHash", "maglev"]],
  },
);

const loadBalancer: Type<LoadBalancer> = object<LoadBalancer>(
  {
    simple: oneOf(
      "UNSPECIFIED",
      "RANDOM",
      "PASSTHROUGH",
      "ROUND_ROBIN",
      "LEAST_REQUEST",
      "LEAST_CONN",
    ),
    consistentHash,
  },
  {
    oneOf: [["simple", "consistentHash"]],
    unhonoured: {
      localityLbSetting: later("prefers or weighs localities; all localities count alike"),
      zoneAwareLbSetting: later("prefers endpoints of the own zone; all zones count alike"),
      warmup: later("gives new endpoints less traffic at first"),
      warmupDurationSecs: later("gives new endpoints less traffic at first"),
    },
  },
);

const percentInteger: Type<number> = integer({ min: 0, max: 100 });

const outlierDetection: Type<OutlierDetection> = object<OutlierDetection>(
  {
    splitExternalLocalOriginErrors: flag,
    consecutiveLocalOriginFailures: limit,
    consecutiveGatewayErrors: limit,
    consecutive5xxErrors: limit,
    interval: duration({ minMs: 1 }),
    baseEjectionTime: duration({ minMs: 1 }),
    maxEjectionPercent: percentInteger,
    minHealthPercent: percentInteger,
  },
  {
    idle: { consecutiveErrors: "consecutive5xxErrors or consecutiveGatewayErrors" },
    unhonoured: {
      outlierDetectionHttpErrorCodes: later("counts other statuses as errors"),
    },
    check(detection, node, place) {
      const { consecutiveLocalOriginFailures: failures } = detection;
      if (failures === undefined || detection.splitExternalLocalOriginErrors === true) return;
      place.field("consecutiveLocalOriginFailures").complain(node.position, {
        code: "config.no-effect",
        severity: "warning",
        message: "failures to connect count as any other without splitExternalLocalOriginErrors",
        hint: "write splitExternalLocalOriginErrors: true",
      });
    },
  },
);

const clientTls: Type<ClientTls> = object<ClientTls>(
  {
    mode: oneOf("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"),
    clientCertificate: nonEmptyText,
    privateKey: nonEmptyText,
    caCertificates: nonEmptyText,
    caCrl: nonEmptyText,
    subjectAltNames: list(nonEmptyText),
    sni: text,
    insecureSkipVerify: flag,
  },
  {
    required: ["mode"],
    unhonoured: {
      credentialName: { effect: "names a secret with certificates", rest: "stops" },
    },
    check(tls, node, place) {
      const isMutual = tls.mode === "MUTUAL" && yamlField(node, "credentialName") === undefined;
      if (isMutual && (tls.clientCertificate === undefined || tls.privateKey === undefined)) {
        const message = "MUTUAL needs clientCertificate and privateKey";
        place.complain(node.position, { code: "config.missing", message });
      }
      const hasFiles = tls.clientCertificate ?? tls.privateKey ?? tls.caCertificates ?? tls.caCrl;
      if (tls.mode === "ISTIO_MUTUAL" && (hasFiles !== undefined || tls.insecureSkipVerify)) {
        const message = "ISTIO_MUTUAL brings its own certificates and always verifies";
        place.complain(node.position, { code: "config.conflict", message });
      }
      for (const field of withoutEffect(tls)) {
        const at = place.field(field);
        at.complain(place.findings.positions.get(at.path) ?? node.position, {
          code: "config.no-effect",
          severity: "warning",
          message:
            tls.mode === "DISABLE" || own.includes(field)
              ? `mode ${tls.mode} uses no ${field}`
              : `insecureSkipVerify leaves no use for ${field}`,
        });
      }
    },
  },
);

const own: readonly (keyof ClientTls)[] = ["clientCertificate", "privateKey"];

/** Fields that the mode leaves unused, where they say something. */
function withoutEffect(tls: Partial<ClientTls>): readonly (keyof ClientTls)[] {
  const all: readonly (keyof ClientTls)[] = [
    ...own,
    "caCertificates",
    "caCrl",
    "subjectAltNames",
    "sni",
    "insecureSkipVerify",
  ];
  const isSaid = (field: keyof ClientTls): boolean =>
    !["", "false"].includes(String(tls[field] ?? ""));
  if (tls.mode === "DISABLE") return all.filter(isSaid);
  const unused = tls.mode === "SIMPLE" ? own : [];
  // Who is not verified may have been taken back.
  const unlooked: readonly (keyof ClientTls)[] = tls.insecureSkipVerify === true ? ["caCrl"] : [];
  return [...unused, ...unlooked].filter(isSaid);
}

const portPolicyFields = { loadBalancer, connectionPool, outlierDetection, tls: clientTls };

const policyRefusals: Readonly<Record<string, Unhonoured>> = {
  retryBudget: later("limits retries by a share of requests"),
};

const tunnel: Type<Tunnel> = object<Tunnel>(
  {
    protocol: oneOf("CONNECT", "POST"),
    targetHost: hostname({ allowsAddress: true, allowsWildcard: false }),
    targetPort: portNumber,
  },
  { required: ["targetHost", "targetPort"] },
);

const trafficPolicy: Type<TrafficPolicy> = object<TrafficPolicy>(
  {
    ...portPolicyFields,
    tunnel,
    proxyProtocol: object<ProxyProtocol>({ version: oneOf("V1", "V2") }),
    portLevelSettings: list(
      object<PortLevelSettings>(
        { ...portPolicyFields, port: object<{ readonly number?: number }>({ number: portNumber }) },
        { required: ["port"] },
      ),
    ),
  },
  { unhonoured: policyRefusals },
);

const subset: Type<Subset> = object<Subset>(
  { name: nonEmptyText, labels, trafficPolicy },
  { required: ["name"] },
);

export const destinationRuleSpec: Type<DestinationRuleSpec> = object<DestinationRuleSpec>(
  {
    host: hostname(),
    trafficPolicy,
    subsets: list(subset),
    exportTo: list(nonEmptyText),
    workloadSelector,
  },
  {
    required: ["host"],
    check(spec, node, place) {
      const seen = new Set<string>();
      for (const [index, { name }] of (spec.subsets ?? []).entries()) {
        if (seen.has(name)) {
          const at = place.field("subsets").item(index);
          const position = place.findings.positions.get(at.path) ?? node.position;
          at.complain(position, {
            code: "destinationrule.duplicate-subset",
            message: `subset ${name} is defined twice`,
          });
        }
        seen.add(name);
      }
    },
  },
);
