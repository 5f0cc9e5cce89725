/** `dynamic_resources` of a bootstrap, decided: which types come from where, and for how long to wait. */
import {
  ApiConfigSource_ApiType as ApiType,
  type ApiConfigSource,
  type ConfigSource,
} from "../../wire/gen/es/envoy/config/core/v3/config_source_pb.ts";
import type { Bootstrap } from "../../wire/gen/es/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import type { Cluster } from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import { typeUrls } from "../../xds/feed.ts";
import { refuse, RefusalList } from "../engine/refusal.ts";
import { type GrpcServerPlan, planGrpcServer } from "./grpc-server.ts";

export interface DynamicPlan {
  readonly ads: { readonly variant: "delta" | "sotw"; readonly server: GrpcServerPlan } | undefined;
  /** Of listeners and clusters, where they do not stand in the bootstrap alone. */
  readonly sources: ReadonlyMap<string, DynamicSource>;
}

export interface DynamicSource {
  /** A file holds a DiscoveryResponse. */
  readonly from: { readonly kind: "ads" } | { readonly kind: "file"; readonly path: string };
  /** After this time the proxy goes on with what is there; 0 waits for ever. */
  readonly initialFetchTimeoutMs: number;
}

const initialFetchTimeoutMsDefault = 15_000;

/** Throws a refusal. */
export function planDynamic({ dynamicResources, staticResources }: Bootstrap): DynamicPlan {
  const refusals = new RefusalList();
  const clusters = staticResources?.clusters ?? [];
  const { adsConfig, ldsConfig, cdsConfig } = dynamicResources ?? {};
  const sources = new Map<string, DynamicSource>();
  const take = (typeUrl: string, config: ConfigSource | undefined, path: string): void => {
    if (config === undefined) return;
    const source = refusals.attempt(() => sourceOf(config, path));
    if (source !== undefined) sources.set(typeUrl, source);
  };
  take(typeUrls.listener, ldsConfig, "dynamic_resources.lds_config");
  take(typeUrls.cluster, cdsConfig, "dynamic_resources.cds_config");
  const ads =
    adsConfig === undefined
      ? undefined
      : refusals.attempt(() => adsOf(adsConfig, clusters, "dynamic_resources.ads_config"));
  const usesAds = [...sources.values()].some(({ from }) => from.kind === "ads");
  if (usesAds && adsConfig === undefined) {
    refusals.add("dynamic_resources.ads_config", "is required by lds_config or cds_config");
  }
  for (const field of ["ldsResourcesLocator", "cdsResourcesLocator"] as const) {
    if ((dynamicResources?.[field] ?? "") === "") continue;
    refusals.add(
      `dynamic_resources.${field.replaceAll(/[A-Z]/g, (c) => `_${c.toLowerCase()}`)}`,
      "is not supported",
    );
  }
  refusals.throwIfAny();
  return { ads, sources };
}

function sourceOf(config: ConfigSource, path: string): DynamicSource {
  const { configSourceSpecifier: specifier, initialFetchTimeout: wait } = config;
  const initialFetchTimeoutMs =
    wait === undefined
      ? initialFetchTimeoutMsDefault
      : Number(wait.seconds) * 1000 + wait.nanos / 1e6;
  switch (specifier.case) {
    case "ads":
      return { from: { kind: "ads" }, initialFetchTimeoutMs };
    case "path":
      return { from: { kind: "file", path: specifier.value }, initialFetchTimeoutMs };
    case "pathConfigSource":
      return { from: { kind: "file", path: specifier.value.path }, initialFetchTimeoutMs };
    case "apiConfigSource":
      return refuse(`${path}.api_config_source`, "only ads and path_config_source are supported");
    case "self":
    case undefined:
      return refuse(path, "needs ads or path_config_source");
  }
}

function adsOf(
  config: ApiConfigSource,
  clusters: readonly Cluster[],
  path: string,
): NonNullable<DynamicPlan["ads"]> {
  const variant = variants.get(config.apiType);
  if (variant === undefined) {
    return refuse(`${path}.api_type`, "only GRPC and DELTA_GRPC are supported");
  }
  if (config.clusterNames.length > 0) refuse(`${path}.cluster_names`, "is not supported");
  if (config.configValidators.length > 0) refuse(`${path}.config_validators`, "is not supported");
  return {
    variant,
    server: planGrpcServer(config.grpcServices, clusters, `${path}.grpc_services`),
  };
}

const variants: ReadonlyMap<ApiType, "delta" | "sotw"> = new Map([
  [ApiType.GRPC, "sotw"],
  [ApiType.DELTA_GRPC, "delta"],
]);
