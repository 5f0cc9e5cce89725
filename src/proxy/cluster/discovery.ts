/** How the endpoints of a cluster become known: EDS, DNS, as written, or by what requests ask for. */
import {
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_DnsLookupFamily as LookupFamily,
  type Cluster,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import type { ClusterLoadAssignment } from "../../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import type { MetadataKey } from "../../wire/gen/ts/envoy/type/metadata/v3/metadata.ts";
import { durationMs, positiveMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii } from "../engine/text-test.ts";
import { type AggregateDiscovery, aggregateUrl, compileAggregate } from "./aggregate.ts";
import { checkResolver, compileDnsPauses, type DnsPauses } from "./dns-options.ts";
import { compileForward, type ForwardDiscovery } from "./forward.ts";

/** Which addresses of a name count; the preferred family stands alone where it has any. */
export type DnsFamily = "all" | "ipv4" | "ipv6" | "ipv4-preferred" | "ipv6-preferred";

export type Discovery =
  | { readonly kind: "static"; readonly assignment: ClusterLoadAssignment }
  | { readonly kind: "eds"; readonly serviceName: string }
  | {
      readonly kind: "dns";
      readonly assignment: ClusterLoadAssignment;
      /** Every address is an endpoint; otherwise the first alone. */
      readonly isStrict: boolean;
      readonly family: DnsFamily;
      /** Between questions, unless the records' own life counts. */
      readonly refreshMs: number;
      readonly respectsTtl: boolean;
      readonly jitterMs: number;
      /** After failures; undefined: as we see fit. */
      readonly pauses: DnsPauses | undefined;
    }
  | {
      readonly kind: "original-dst";
      readonly portOverride: number | undefined;
      /** A request may name its destination by it. */
      readonly header: string | undefined;
      /** Metadata of a connection may: its namespace, and keys in each other. */
      readonly metadata: readonly [namespace: string, ...path: string[]] | undefined;
      readonly cleanupMs: number;
    }
  | AggregateDiscovery
  | ForwardDiscovery;

export function compileDiscovery(cluster: Cluster): Discovery {
  const assignment = cluster.loadAssignment ?? {
    clusterName: cluster.name,
    endpoints: [],
    namedEndpoints: {},
  };
  checkResolver(cluster);
  const { clusterType } = cluster;
  if (clusterType?.typedConfig?.typeUrl === aggregateUrl) {
    return compileAggregate(cluster, clusterType.typedConfig.value);
  }
  if (clusterType !== undefined) return compileForward(cluster, clusterType);
  switch (cluster.type ?? DiscoveryType.STATIC) {
    case DiscoveryType.STATIC:
      return { kind: "static", assignment };
    case DiscoveryType.EDS:
      return {
        kind: "eds",
        serviceName: cluster.edsClusterConfig?.serviceName || cluster.name,
      };
    case DiscoveryType.STRICT_DNS:
    case DiscoveryType.LOGICAL_DNS:
      return {
        kind: "dns",
        assignment,
        isStrict: cluster.type === DiscoveryType.STRICT_DNS,
        family: familyOf(cluster.dnsLookupFamily),
        refreshMs: refreshMsOf(cluster),
        respectsTtl: cluster.respectDnsTtl,
        jitterMs: durationMs(cluster.dnsJitter) ?? 0,
        pauses: compileDnsPauses(cluster.dnsFailureRefreshRate, "dns_failure_refresh_rate"),
      };
    case DiscoveryType.ORIGINAL_DST:
      return compileOriginalDst(cluster);
    case DiscoveryType.UNRECOGNIZED:
    default:
      return refuse("type", `${cluster.type} is not known`);
  }
}

function refreshMsOf({ dnsRefreshRate }: Cluster): number {
  const refreshMs = durationMs(dnsRefreshRate) ?? 5000;
  // As Envoy: names would be asked for without end.
  return refreshMs > 1 ? refreshMs : refuse("dns_refresh_rate", "must be more than a millisecond");
}

/** Envoy's own name of the header that names a destination. */
const destinationHeader = "x-envoy-original-dst-host";

function compileOriginalDst(cluster: Cluster): Extract<Discovery, { kind: "original-dst" }> {
  const config = cluster.originalDstLbConfig;
  return {
    kind: "original-dst",
    metadata: compileMetadataKey(config?.metadataKey, "original_dst_lb_config.metadata_key"),
    portOverride: config?.upstreamPortOverride,
    header:
      config?.useHttpHeader === true
        ? lowerAscii(config.httpHeaderName || destinationHeader)
        : undefined,
    cleanupMs: positiveMs(cluster.cleanupInterval, "cleanup_interval") ?? 5000,
  };
}

export function compileMetadataKey(
  written: MetadataKey | undefined,
  path: string,
): readonly [string, ...string[]] | undefined {
  if (written === undefined) return undefined;
  if (written.key === "") refuse(`${path}.key`, "is required");
  if (written.path.length === 0) refuse(`${path}.path`, "is required");
  const keys = written.path.map(
    ({ key }, i) => key ?? refuse(`${path}.path[${i}].key`, "is required"),
  );
  return [written.key, ...keys];
}

function familyOf(family: LookupFamily): DnsFamily {
  switch (family) {
    case LookupFamily.AUTO:
      return "ipv6-preferred";
    case LookupFamily.V4_ONLY:
      return "ipv4";
    case LookupFamily.V6_ONLY:
      return "ipv6";
    case LookupFamily.V4_PREFERRED:
      return "ipv4-preferred";
    case LookupFamily.ALL:
      return "all";
    case LookupFamily.UNRECOGNIZED:
    default:
      return refuse("dns_lookup_family", `${family} is not known`);
  }
}
