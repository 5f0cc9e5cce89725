/** Which fields of typed balancing policies are honoured. */
import type {
  ConsistentHashingLbConfig,
  LocalityLbConfig,
  SlowStartConfig,
} from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/common/v3/common.ts";
import type { ClientSideWeightedRoundRobin } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.ts";
import type { LeastRequest } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/least_request/v3/least_request.ts";
import type { Maglev } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/maglev/v3/maglev.ts";
import type { OverrideHost } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/override_host/v3/override_host.ts";
import type { Random } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/random/v3/random.ts";
import type { RingHash } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.ts";
import type { RoundRobin } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.ts";
import type { Subset } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/subset/v3/subset.ts";
import type { WrrLocality } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.ts";
import type { Honoured } from "./honoured.ts";

const runtimeDouble = { defaultValue: true, runtimeKey: true } as const;

export const honouredSlowStart: Honoured<SlowStartConfig> = {
  slowStartWindow: true,
  aggression: runtimeDouble,
  minWeightPercent: true,
};

const locality: Honoured<LocalityLbConfig> = {
  localityWeightedLbConfig: true,
  zoneAwareLbConfig: {
    routingEnabled: true,
    minClusterSize: true,
    failTrafficOnPanic: true,
    forceLocalityDirectRouting: true,
    forceLocalZone: { minSize: true },
    localityBasis: true,
  },
};

const hashing: Honoured<ConsistentHashingLbConfig> = {
  useHostnameForHashing: true,
  hashBalanceFactor: true,
};

export const honouredLeastRequest: Honoured<LeastRequest> = {
  choiceCount: true,
  activeRequestBias: runtimeDouble,
  slowStartConfig: honouredSlowStart,
  localityLbConfig: locality,
  enableFullScan: true,
  selectionMethod: true,
};

export const honouredRoundRobin: Honoured<RoundRobin> = {
  slowStartConfig: honouredSlowStart,
  localityLbConfig: locality,
};

export const honouredRandom: Honoured<Random> = { localityLbConfig: locality };

export const honouredRingHash: Honoured<RingHash> = {
  hashFunction: true,
  minimumRingSize: true,
  maximumRingSize: true,
  useHostnameForHashing: true,
  hashBalanceFactor: true,
  consistentHashingLbConfig: hashing,
  localityWeightedLbConfig: true,
};

export const honouredSubset: Honoured<Subset> = {
  fallbackPolicy: true,
  defaultSubset: true,
  subsetSelectors: true,
  localityWeightAware: true,
  scaleLocalityWeight: true,
  panicModeAny: true,
  listAsAny: true,
  metadataFallbackPolicy: true,
  subsetLbPolicy: true,
};

export const honouredMaglev: Honoured<Maglev> = {
  tableSize: true,
  consistentHashingLbConfig: hashing,
  localityWeightedLbConfig: true,
};

export const honouredLoadWeights: Honoured<ClientSideWeightedRoundRobin> = {
  // Reports come with answers alone.
  enableOobLoadReport: "zero",
  blackoutPeriod: true,
  weightExpirationPeriod: true,
  weightUpdatePeriod: true,
  errorUtilizationPenalty: true,
  metricNamesForComputingUtilization: true,
  slowStartConfig: honouredSlowStart,
};

export const honouredWrrLocality: Honoured<WrrLocality> = {
  // ClientSideWeightedRoundRobin alone, as in Envoy.
  endpointPickingPolicy: true,
};

export const honouredOverrideHost: Honoured<OverrideHost> = {
  overrideHostSources: { header: true, metadata: true },
  selectedHostKey: true,
  fallbackPolicy: true,
};
