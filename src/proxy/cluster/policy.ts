/** Which balancer a cluster asked for, in either of Envoy's two ways of asking. */
import {
  honouredLeastRequest,
  honouredLoadWeights,
  honouredMaglev,
  honouredOverrideHost,
  honouredRandom,
  honouredRingHash,
  honouredRoundRobin,
  honouredSubset,
  honouredWrrLocality,
} from "../config/honoured-balancing.ts";
import { honoured } from "../config/honoured.ts";
import {
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_LbPolicy as LbPolicy,
  Cluster_RingHashLbConfig_HashFunction as HashFunction,
  type Cluster,
  type Cluster_SlowStartConfig as SlowStartConfig,
  type LoadBalancingPolicy,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import {
  type LocalityLbConfig,
  type LocalityLbConfig_ZoneAwareLbConfig as TypedZoneAware,
  LocalityLbConfig_ZoneAwareLbConfig_LocalityBasis as LocalityBasis,
} from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/common/v3/common.ts";
import { ClientSideWeightedRoundRobin } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.ts";
import {
  LeastRequest,
  LeastRequest_SelectionMethod,
} from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/least_request/v3/least_request.ts";
import { Maglev } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/maglev/v3/maglev.ts";
import { OverrideHost } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/override_host/v3/override_host.ts";
import { Random } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/random/v3/random.ts";
import {
  RingHash,
  RingHash_HashFunction as RingHashFunction,
} from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.ts";
import { RoundRobin } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.ts";
import { Subset } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/subset/v3/subset.ts";
import { WrrLocality } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.ts";
import { boundedLoad } from "../engine/bounded-load.ts";
import { leastRequest, type MakeChooser, roundRobin, uniformRandom } from "../engine/chooser.ts";
import { maglev, type MakeHashedChooser, ringHash } from "../engine/consistent-hash.ts";
import { compileLoadWeights, type LoadWeights } from "../engine/load-weights.ts";
import type { EndpointPolicy } from "../engine/priorities.ts";
import { refuse } from "../engine/refusal.ts";
import { compileSubsets, type SubsetPlan } from "../engine/subsets.ts";
import type { ZoneRules } from "../engine/zones.ts";
import { compileSlowStart } from "../engine/slow-start.ts";
import type { Endpoint } from "./endpoint.ts";
import { compileOverrideHosts, type OverrideHostsPlan } from "./override-hosts.ts";

export interface BalancingPolicy {
  readonly policy: EndpointPolicy<Endpoint>;
  readonly isLocalityWeighted: boolean;
  readonly zones: ZoneRules;
  readonly failsOnPanic: boolean;
  /** What consistent hashing places on its ring is the endpoint's hostname. */
  readonly hashesHostname: boolean;
  /** Subsets of its endpoints that requests can ask for. */
  readonly subsets?: SubsetPlan | undefined;
  /** Endpoints weigh what they report of their load. */
  readonly loadWeights?: LoadWeights | undefined;
  /** Requests may name endpoints. */
  readonly overrideHosts?: OverrideHostsPlan | undefined;
}

export function compilePolicy(cluster: Cluster): BalancingPolicy {
  const common = cluster.commonLbConfig;
  if (cluster.loadBalancingPolicy !== undefined) {
    // As Envoy: the typed policy says these itself.
    for (const field of [
      "localityWeightedLbConfig",
      "zoneAwareLbConfig",
      "consistentHashingLbConfig",
    ] as const) {
      if (common?.[field] === undefined) continue;
      const name = field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      refuse(`common_lb_config.${name}`, "cannot stand beside load_balancing_policy");
    }
    if (cluster.lbSubsetConfig !== undefined) {
      refuse("lb_subset_config", "cannot stand beside load_balancing_policy");
    }
    return fromTyped(cluster.loadBalancingPolicy, "load_balancing_policy.policies");
  }
  return {
    policy: fromEnum(cluster),
    isLocalityWeighted: common?.localityWeightedLbConfig !== undefined,
    zones: compileZones(common?.zoneAwareLbConfig, "common_lb_config.zone_aware_lb_config"),
    failsOnPanic: common?.zoneAwareLbConfig?.failTrafficOnPanic === true,
    hashesHostname: common?.consistentHashingLbConfig?.useHostnameForHashing === true,
    subsets: compileSubsets(cluster.lbSubsetConfig, "lb_subset_config"),
  };
}

const drawn = (make: MakeChooser<Endpoint>): EndpointPolicy<Endpoint> => ({ kind: "drawn", make });

function fromEnum(cluster: Cluster): EndpointPolicy<Endpoint> {
  const balance = {
    factor: cluster.commonLbConfig?.consistentHashingLbConfig?.hashBalanceFactor,
    path: "common_lb_config.consistent_hashing_lb_config",
  };
  switch (cluster.lbPolicy) {
    case LbPolicy.ROUND_ROBIN: {
      const path = "round_robin_lb_config.slow_start_config";
      return drawn(roundRobin(compileSlowStart(cluster.roundRobinLbConfig?.slowStartConfig, path)));
    }
    case LbPolicy.LEAST_REQUEST:
      return leastBusy(cluster.leastRequestLbConfig ?? {}, "least_request_lb_config");
    case LbPolicy.RANDOM:
      return drawn(uniformRandom);
    case LbPolicy.RING_HASH: {
      const config = cluster.ringHashLbConfig;
      const { MURMUR_HASH_2 } = HashFunction;
      return hashed(
        ring(
          { ...config, isMurmur: config?.hashFunction === MURMUR_HASH_2 },
          "ring_hash_lb_config",
        ),
        balance,
      );
    }
    case LbPolicy.MAGLEV:
      return hashed(maglevOf(cluster.maglevLbConfig?.tableSize, "maglev_lb_config"), balance);
    case LbPolicy.CLUSTER_PROVIDED:
      if (cluster.type !== DiscoveryType.ORIGINAL_DST && cluster.clusterType === undefined) {
        refuse("lb_policy", "CLUSTER_PROVIDED goes with clusters that find their own endpoints");
      }
      return drawn(uniformRandom);
    case LbPolicy.LOAD_BALANCING_POLICY_CONFIG:
      return refuse("load_balancing_policy", "is required by lb_policy");
    case LbPolicy.UNRECOGNIZED:
    default:
      return refuse("lb_policy", `${cluster.lbPolicy} is not known`);
  }
}

interface LeastRequestConfig {
  readonly choiceCount?: number | undefined;
  readonly activeRequestBias?: { readonly defaultValue: number } | undefined;
  readonly slowStartConfig?: SlowStartConfig | undefined;
}

function leastBusy(
  { choiceCount = 2, activeRequestBias, slowStartConfig }: LeastRequestConfig,
  path: string,
  scansAll = false,
): EndpointPolicy<Endpoint> {
  const bias = activeRequestBias?.defaultValue ?? 1;
  if (choiceCount < 2) refuse(`${path}.choice_count`, "must be at least 2");
  if (bias < 0) refuse(`${path}.active_request_bias`, "must not be negative");
  const slowStart = compileSlowStart(slowStartConfig, `${path}.slow_start_config`);
  return drawn(leastRequest({ choiceCount, bias, scansAll, slowStart }));
}

const typedPolicies = "type.googleapis.com/envoy.extensions.load_balancing_policies.";

/** The first policy of the list that is known counts, as the list is meant. */
function fromTyped(config: LoadBalancingPolicy, path: string): BalancingPolicy {
  for (const [i, { typedExtensionConfig }] of config.policies.entries()) {
    const typed = typedExtensionConfig?.typedConfig;
    const found = fromTypedPolicy(typed?.typeUrl ?? "", typed?.value, `${path}[${i}]`);
    if (found !== undefined) return found;
  }
  return refuse(path, "names no policy that is supported");
}

function fromTypedPolicy(
  typeUrl: string,
  bytes: Uint8Array = new Uint8Array(0),
  path: string,
): BalancingPolicy | undefined {
  switch (typeUrl) {
    case `${typedPolicies}round_robin.v3.RoundRobin`: {
      const policy = honoured(RoundRobin.decode(bytes), honouredRoundRobin, path);
      const slowStart = compileSlowStart(policy.slowStartConfig, `${path}.slow_start_config`);
      return inLocalities(drawn(roundRobin(slowStart)), policy.localityLbConfig, path);
    }
    case `${typedPolicies}least_request.v3.LeastRequest`: {
      const policy = honoured(LeastRequest.decode(bytes), honouredLeastRequest, path);
      const { FULL_SCAN } = LeastRequest_SelectionMethod;
      const { choiceCount = 2, localityLbConfig, selectionMethod } = policy;
      const scansAll = policy.enableFullScan === true || selectionMethod === FULL_SCAN;
      const chosen = leastBusy({ ...policy, choiceCount }, path, scansAll);
      return inLocalities(chosen, localityLbConfig, path);
    }
    case `${typedPolicies}random.v3.Random`: {
      const policy = honoured(Random.decode(bytes), honouredRandom, path);
      return inLocalities(drawn(uniformRandom), policy.localityLbConfig, path);
    }
    case `${typedPolicies}cluster_provided.v3.ClusterProvided`:
      return inLocalities(drawn(uniformRandom), undefined, path);
    case `${typedPolicies}ring_hash.v3.RingHash`: {
      const policy = honoured(RingHash.decode(bytes), honouredRingHash, path);
      const isMurmur = policy.hashFunction === RingHashFunction.MURMUR_HASH_2;
      return fromHashing(ring({ ...policy, isMurmur }, path), policy, path);
    }
    case `${typedPolicies}maglev.v3.Maglev`: {
      const policy = honoured(Maglev.decode(bytes), honouredMaglev, path);
      return fromHashing(maglevOf(policy.tableSize, path), policy, path);
    }
    case `${typedPolicies}subset.v3.Subset`:
      return fromSubsets(honoured(Subset.decode(bytes), honouredSubset, path), path);
    case `${typedPolicies}client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin`: {
      const decoded = ClientSideWeightedRoundRobin.decode(bytes);
      const policy = honoured(decoded, honouredLoadWeights, path);
      const slowStart = compileSlowStart(policy.slowStartConfig, `${path}.slow_start_config`);
      const chosen = inLocalities(drawn(roundRobin(slowStart)), undefined, path);
      return { ...chosen, loadWeights: compileLoadWeights(policy, path) };
    }
    case `${typedPolicies}wrr_locality.v3.WrrLocality`:
      return fromWrrLocality(honoured(WrrLocality.decode(bytes), honouredWrrLocality, path), path);
    case `${typedPolicies}override_host.v3.OverrideHost`:
      return fromOverride(honoured(OverrideHost.decode(bytes), honouredOverrideHost, path), path);
    default:
      return undefined;
  }
}

/** As Envoy, which knows no other policy in it. */
function fromWrrLocality({ endpointPickingPolicy }: WrrLocality, path: string): BalancingPolicy {
  const place = `${path}.endpoint_picking_policy`;
  const inner = fromTyped(endpointPickingPolicy ?? { policies: [] }, `${place}.policies`);
  if (inner.loadWeights === undefined || inner.isLocalityWeighted || inner.subsets !== undefined) {
    refuse(place, "must be ClientSideWeightedRoundRobin");
  }
  return { ...inner, isLocalityWeighted: true };
}

function fromOverride(config: OverrideHost, path: string): BalancingPolicy {
  const place = `${path}.fallback_policy`;
  const inner = fromTyped(config.fallbackPolicy ?? { policies: [] }, `${place}.policies`);
  if (inner.overrideHosts !== undefined) refuse(place, "is not supported: requests name others");
  return { ...inner, overrideHosts: compileOverrideHosts(config, path) };
}

function fromSubsets(config: Subset, path: string): BalancingPolicy {
  const place = `${path}.subset_lb_policy`;
  const inner = fromTyped(config.subsetLbPolicy ?? { policies: [] }, `${place}.policies`);
  if (inner.subsets !== undefined) refuse(place, "is not supported: it has subsets of its own");
  // Not yet: those of the subset alone might be named.
  if (inner.overrideHosts !== undefined) refuse(place, "is not supported: requests name endpoints");
  return { ...inner, subsets: compileSubsets(config, path) };
}

function inLocalities(
  policy: EndpointPolicy<Endpoint>,
  config: LocalityLbConfig | undefined,
  path: string,
): BalancingPolicy {
  return {
    policy,
    isLocalityWeighted: config?.localityWeightedLbConfig !== undefined,
    zones: compileZones(
      config?.zoneAwareLbConfig,
      `${path}.locality_lb_config.zone_aware_lb_config`,
    ),
    failsOnPanic: config?.zoneAwareLbConfig?.failTrafficOnPanic === true,
    hashesHostname: false,
  };
}

type ZoneAwareConfig = Pick<TypedZoneAware, "routingEnabled" | "minClusterSize"> &
  Partial<Pick<TypedZoneAware, "forceLocalZone" | "forceLocalityDirectRouting" | "localityBasis">>;

function compileZones(config: ZoneAwareConfig | undefined, path: string): ZoneRules {
  const {
    routingEnabled,
    minClusterSize,
    forceLocalZone,
    forceLocalityDirectRouting = false,
    localityBasis = LocalityBasis.HEALTHY_HOSTS_NUM,
  } = config ?? {};
  const percent = routingEnabled?.value ?? 100;
  if (!(percent >= 0 && percent <= 100)) refuse(`${path}.routing_enabled`, "is no percentage");
  if (localityBasis === LocalityBasis.UNRECOGNIZED) {
    refuse(`${path}.locality_basis`, "is not known");
  }
  const hasOwn = forceLocalZone !== undefined || forceLocalityDirectRouting;
  return {
    // Envoy rounds it, too.
    enabledPercent: Math.round(percent),
    membersMin: Number(minClusterSize ?? 6n),
    ownMin: hasOwn ? (forceLocalZone?.minSize ?? 1) : undefined,
    countsWeights: localityBasis === LocalityBasis.HEALTHY_HOSTS_WEIGHT,
  };
}

interface HashingConfig {
  readonly consistentHashingLbConfig?:
    | { readonly useHostnameForHashing: boolean; readonly hashBalanceFactor?: number | undefined }
    | undefined;
  readonly localityWeightedLbConfig?: object | undefined;
  /** Of rings; deprecated. */
  readonly useHostnameForHashing?: boolean;
  readonly hashBalanceFactor?: number | undefined;
}

function fromHashing(
  make: MakeHashedChooser<Endpoint>,
  config: HashingConfig,
  path: string,
): BalancingPolicy {
  const common = config.consistentHashingLbConfig ?? config;
  return {
    policy: hashed(make, { factor: common.hashBalanceFactor, path }),
    isLocalityWeighted: config.localityWeightedLbConfig !== undefined,
    // Hashes know no zones.
    zones: compileZones(undefined, path),
    failsOnPanic: false,
    hashesHostname: common.useHostnameForHashing === true,
  };
}

function hashed(
  make: MakeHashedChooser<Endpoint>,
  balance: { readonly factor: number | undefined; readonly path: string },
): EndpointPolicy<Endpoint> {
  const { factor = 0, path } = balance;
  if (factor === 0) return { kind: "hashed", make };
  if (factor < 100) refuse(`${path}.hash_balance_factor`, "must be at least 100");
  return { kind: "hashed", make: boundedLoad(make, factor) };
}

const ringSizeMax = 8_388_608;

interface RingConfig {
  readonly minimumRingSize?: bigint | undefined;
  readonly maximumRingSize?: bigint | undefined;
  readonly isMurmur: boolean;
}

function ring(config: RingConfig, path: string): MakeHashedChooser<Endpoint> {
  const sizeMin = Number(config.minimumRingSize ?? 1024n);
  const sizeMax = Number(config.maximumRingSize ?? BigInt(ringSizeMax));
  if (sizeMin < 1 || sizeMax > ringSizeMax || sizeMin > sizeMax) {
    refuse(`${path}.minimum_ring_size`, `must lie between 1 and ${ringSizeMax}`);
  }
  const hashFunction = config.isMurmur ? "murmur-hash-2" : "xx-hash";
  return ringHash({ sizeMin, sizeMax, hashFunction });
}

function maglevOf(tableSize: bigint | undefined, path: string): MakeHashedChooser<Endpoint> {
  const size = Number(tableSize ?? 65_537n);
  if (size < 2 || size > 5_000_011 || !isPrime(size)) {
    refuse(`${path}.table_size`, "must be a prime of at most 5000011");
  }
  return maglev(size);
}

function isPrime(number: number): boolean {
  for (let factor = 2; factor * factor <= number; factor++) {
    if (number % factor === 0) return false;
  }
  return number >= 2;
}
