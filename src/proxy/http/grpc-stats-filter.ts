/** Envoy's `grpc_stats` filter: counts calls and messages of gRPC, and tells messages to logs and metrics. */
import { moment } from "../../telemetry/request-times.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { FilterConfig } from "../../wire/gen/ts/envoy/extensions/filters/http/grpc_stats/v3/config.ts";
import { honouredGrpcStats } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import type { ProxyContext } from "../context.ts";
import { isGrpcContentType } from "../engine/grpc-content-type.ts";
import { refuse } from "../engine/refusal.ts";
import type { FilterStream, HttpFilter } from "./filter.ts";
import { GrpcSeries, type GrpcSeriesOptions } from "./grpc-series.ts";

export interface GrpcFilterPlace {
  readonly name: string;
  readonly path: string;
  readonly metrics: MetricRegistry;
  readonly clusters: ProxyContext["clusters"];
}

export function createGrpcStatsFilter(bytes: Uint8Array, place: GrpcFilterPlace): HttpFilter {
  const config = honoured(FilterConfig.decode(bytes), honouredGrpcStats, place.path);
  const { clusters } = place;
  const { emitFilterState, enableUpstreamStats, replaceDotsInGrpcServiceName } = config;
  const series = new GrpcSeries(place.metrics, {
    protocol: "grpc",
    isNamed: namesOf(config, place.path),
    replacesDots: replaceDotsInGrpcServiceName,
  });
  return {
    name: place.name,
    onRequest(stream) {
      const { request, record, outcome } = stream;
      if (!isGrpcContentType(request.header("content-type"))) return "continue";
      const cluster = outcome.kind === "forward" ? clusters.get(outcome.cluster) : undefined;
      const calls = cluster === undefined ? undefined : series.of(cluster, request.path);
      record.countMessages(calls, emitFilterState);
      // What came while a filter before this one waited.
      for (const piece of stream.body.pieces) record.onRequestMessages(piece, 0, piece.length);
      return "continue";
    },
    onStreamEnd({ record }: FilterStream) {
      const { calls, toldGrpcStatus, times } = record;
      if (calls === undefined) return;
      if (toldGrpcStatus !== undefined) calls.onStatus(toldGrpcStatus);
      if (!enableUpstreamStats) return;
      const ms = (times.at[moment.answerEnd] ?? NaN) - (times.at[moment.sendEnd] ?? NaN);
      if (ms >= 0) calls.onTime(ms);
    },
  };
}

function namesOf(
  { individualMethodStatsAllowlist: list, statsForAllMethods }: FilterConfig,
  path: string,
): GrpcSeriesOptions["isNamed"] {
  if (list === undefined) return () => statsForAllMethods === true;
  if (statsForAllMethods !== undefined) {
    refuse(`${path}.stats_for_all_methods`, "stands beside individual_method_stats_allowlist");
  }
  const names = new Map(list.services.map((one) => [one.name, new Set(one.methodNames)]));
  return (service, method) => names.get(service)?.has(method) === true;
}
