/** Which balancer a cluster asked for, in either of Envoy's two ways of asking. */
import {
  honouredLeastRequest,
  honouredMaglev,
  honouredRandom,
  honouredRingHash,
  honouredRoundRobin,
} from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import {
  Cluster_DiscoveryType as DiscoveryType,
  Cluster_LbPolicy as LbPolicy,
  Cluster_RingHashLbConfig_HashFunction as HashFunction,
  type Cluster,
  type LoadBalancingPolicy,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { LeastRequest } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/least_request/v3/least_request.ts";
import { Maglev } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/maglev/v3/maglev.ts";
import { Random } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/random/v3/random.ts";
import {
  RingHash,
  RingHash_HashFunction as RingHashFunction,
} from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.ts";
import { RoundRobin } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.ts";
import { leastRequest, type MakeChooser, roundRobin, uniformRandom } from "../engine/chooser.ts";
import { maglev, ringHash } from "../engine/consistent-hash.ts";
import { refuse } from "../engine/refusal.ts";
import type { Endpoint } from "./endpoint.ts";

export interface BalancingPolicy {
  readonly makeChooser: MakeChooser<Endpoint>;
  readonly isLocalityWeighted: boolean;
}

export function compilePolicy(cluster: Cluster): BalancingPolicy {
  const isLocalityWeighted = cluster.commonLbConfig?.localityWeightedLbConfig !== undefined;
  const consistent = cluster.commonLbConfig?.consistentHashingLbConfig;
  if ((consistent?.hashBalanceFactor ?? 0) > 0) {
    refuse("common_lb_config.consistent_hashing_lb_config.hash_balance_factor", "is not supported");
  }
  if (cluster.loadBalancingPolicy !== undefined) {
    return fromTyped(cluster.loadBalancingPolicy, isLocalityWeighted);
  }
  return { makeChooser: fromEnum(cluster), isLocalityWeighted };
}

function fromEnum(cluster: Cluster): MakeChooser<Endpoint> {
  switch (cluster.lbPolicy) {
    case LbPolicy.ROUND_ROBIN:
      refuseSlowStart(cluster.roundRobinLbConfig, "round_robin_lb_config");
      return roundRobin;
    case LbPolicy.LEAST_REQUEST: {
      const config = cluster.leastRequestLbConfig;
      refuseSlowStart(config, "least_request_lb_config");
      return leastRequest(config?.choiceCount ?? 2, config?.activeRequestBias?.defaultValue ?? 1);
    }
    case LbPolicy.RANDOM:
      return uniformRandom;
    case LbPolicy.RING_HASH: {
      const config = cluster.ringHashLbConfig;
      if (config !== undefined && config.hashFunction !== HashFunction.XX_HASH) {
        refuse("ring_hash_lb_config.hash_function", "only XX_HASH is supported");
      }
      return ring(config?.minimumRingSize, config?.maximumRingSize, "ring_hash_lb_config");
    }
    case LbPolicy.MAGLEV:
      return maglevOf(cluster.maglevLbConfig?.tableSize, "maglev_lb_config");
    case LbPolicy.CLUSTER_PROVIDED:
      if (cluster.type !== DiscoveryType.ORIGINAL_DST && cluster.clusterType === undefined) {
        refuse("lb_policy", "CLUSTER_PROVIDED goes with clusters that find their own endpoints");
      }
      return uniformRandom;
    case LbPolicy.LOAD_BALANCING_POLICY_CONFIG:
      return refuse("load_balancing_policy", "is required by lb_policy");
    case LbPolicy.UNRECOGNIZED:
    default:
      return refuse("lb_policy", `${cluster.lbPolicy} is not known`);
  }
}

const typedPolicies = "type.googleapis.com/envoy.extensions.load_balancing_policies.";

/** The first policy of the list that is known counts, as the list is meant. */
function fromTyped(config: LoadBalancingPolicy, isLocalityWeighted: boolean): BalancingPolicy {
  const path = "load_balancing_policy.policies";
  for (const [i, { typedExtensionConfig }] of config.policies.entries()) {
    const typed = typedExtensionConfig?.typedConfig;
    const makeChooser = fromTypedPolicy(typed?.typeUrl ?? "", typed?.value, `${path}[${i}]`);
    if (makeChooser !== undefined) return { makeChooser, isLocalityWeighted };
  }
  return refuse(path, "names no policy that is supported");
}

function fromTypedPolicy(
  typeUrl: string,
  bytes: Uint8Array = new Uint8Array(0),
  path: string,
): MakeChooser<Endpoint> | undefined {
  switch (typeUrl) {
    case `${typedPolicies}round_robin.v3.RoundRobin`:
      refuseSlowStart(honoured(RoundRobin.decode(bytes), honouredRoundRobin, path), path);
      return roundRobin;
    case `${typedPolicies}least_request.v3.LeastRequest`: {
      const policy = honoured(LeastRequest.decode(bytes), honouredLeastRequest, path);
      refuseSlowStart(policy, path);
      return leastRequest(policy.choiceCount ?? 2, policy.activeRequestBias?.defaultValue ?? 1);
    }
    case `${typedPolicies}random.v3.Random`:
      honoured(Random.decode(bytes), honouredRandom, path);
      return uniformRandom;
    case `${typedPolicies}cluster_provided.v3.ClusterProvided`:
      return uniformRandom;
    case `${typedPolicies}ring_hash.v3.RingHash`: {
      const policy = honoured(RingHash.decode(bytes), honouredRingHash, path);
      refuseHashFunction(policy.hashFunction, path);
      return ring(policy.minimumRingSize, policy.maximumRingSize, path);
    }
    case `${typedPolicies}maglev.v3.Maglev`:
      return maglevOf(honoured(Maglev.decode(bytes), honouredMaglev, path).tableSize, path);
    default:
      return undefined;
  }
}

function refuseSlowStart(
  config: { readonly slowStartConfig?: object | undefined } | undefined,
  path: string,
): void {
  if (config?.slowStartConfig !== undefined) {
    refuse(`${path}.slow_start_config`, "is not supported");
  }
}

/** Its default, 0, is the xxHash that ours is. */
function refuseHashFunction(hashFunction: RingHashFunction, path: string): void {
  const { DEFAULT_HASH, XX_HASH } = RingHashFunction;
  if (hashFunction === DEFAULT_HASH || hashFunction === XX_HASH) return;
  refuse(`${path}.hash_function`, "only XX_HASH is supported");
}

const ringSizeMax = 8_388_608;

function ring(
  sizeMin: bigint | undefined,
  sizeMax: bigint | undefined,
  path: string,
): MakeChooser<Endpoint> {
  const min = Number(sizeMin ?? 1024n);
  const max = Number(sizeMax ?? BigInt(ringSizeMax));
  if (min < 1 || max > ringSizeMax || min > max) {
    refuse(`${path}.minimum_ring_size`, `must lie between 1 and ${ringSizeMax}`);
  }
  return ringHash(min, max);
}

function maglevOf(tableSize: bigint | undefined, path: string): MakeChooser<Endpoint> {
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
