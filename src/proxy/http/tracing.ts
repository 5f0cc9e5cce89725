/**
 * Tracing as a connection manager's configuration says: which requests are sampled, and the exporter
 * of its provider. OTLP over HTTP to a cluster is the only provider; others refuse the configuration.
 */
import { honouredTelemetry } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { OpenTelemetryConfig } from "../../wire/gen/ts/envoy/config/trace/v3/opentelemetry.ts";
import { CustomTag } from "../../wire/gen/ts/envoy/type/tracing/v3/custom_tag.ts";
import type { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import type { ProxyContext } from "../context.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { compileOperation, compileTags } from "../stats/span-tags.ts";
import { SpanSink } from "../stats/span-sink.ts";
import { type PostTarget, postToCluster } from "./cluster-post.ts";
import type { Upstreams } from "./upstream-pool.ts";

export interface SpanReporter {
  add(record: RequestRecord): void;
  flush(): void;
}

const openTelemetryType = "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig";
const path = "tracing.provider.typed_config";

const reportersByContext = new WeakMap<ProxyContext, Map<string, SpanSink>>();

/** Where spans of this connection manager go; undefined when it names no provider. */
export function compileSpanReporter(
  { tracing }: HttpConnectionManager,
  context: ProxyContext,
  upstreams: Upstreams,
): SpanReporter | undefined {
  const provider = tracing?.provider?.typedConfig;
  if (tracing?.provider === undefined) return undefined;
  if (provider?.typeUrl !== openTelemetryType) {
    refuse("tracing.provider", `${tracing.provider.name} is not supported`);
  }
  if (tracing.noContextPropagation) refuse("tracing.no_context_propagation", "is not supported");
  const style = {
    tags: compileTags(tracing.customTags, "tracing.custom_tags"),
    operation: compileOperation(tracing.operation, "tracing.operation"),
    upstreamOperation: compileOperation(tracing.upstreamOperation, "tracing.upstream_operation"),
  };
  const config = honoured(OpenTelemetryConfig.decode(provider.value), honouredTelemetry, path);
  const target = targetOf(config);
  const spawnsUpstreamSpan = tracing.spawnUpstreamSpan ?? false;
  // One for all connection managers alike, across updates: spans that wait outlive a version.
  const { operation, upstreamOperation } = tracing;
  const tags = tracing.customTags.map((tag) => CustomTag.encode(tag).finish().join());
  const said = [config.serviceName, spawnsUpstreamSpan, operation, upstreamOperation, ...tags];
  const key = JSON.stringify([target, ...said]);
  const reporters = reportersByContext.get(context) ?? new Map<string, SpanSink>();
  reportersByContext.set(context, reporters);
  const known = reporters.get(key);
  if (known !== undefined) return known;
  const made = new SpanSink({
    clock: context.clock,
    metrics: context.metrics,
    resource: { "service.name": config.serviceName || "unknown_service:heddle" },
    spawnsUpstreamSpan,
    style,
    post: poster(context, upstreams, target),
  });
  reporters.set(key, made);
  return made;
}

function targetOf(config: OpenTelemetryConfig): PostTarget {
  const { httpService } = config;
  if (config.grpcService !== undefined) refuse(`${path}.grpc_service`, "is not supported");
  if (config.exporter !== undefined) refuse(`${path}.exporter`, "is not supported");
  if (config.sampler !== undefined) refuse(`${path}.sampler`, "is not supported");
  if (config.resourceDetectors.length > 0) refuse(`${path}.resource_detectors`, "is not supported");
  if (httpService === undefined) refuse(`${path}.http_service`, "is required");
  if (httpService.requestHeadersToAdd.length > 0) {
    refuse(`${path}.http_service.request_headers_to_add`, "is not supported");
  }
  const { uri = "", cluster = "", timeout } = httpService.httpUri ?? {};
  const parsed = /^http:\/\/([^/]+)(\/.*)?$/.exec(uri);
  if (parsed === null || cluster === "") {
    refuse(`${path}.http_service.http_uri`, "needs an http:// URI and a cluster");
  }
  return {
    cluster,
    authority: parsed[1] ?? "",
    path: parsed[2] ?? "/",
    contentType: "application/x-protobuf",
    timeoutMs: durationMs(timeout) ?? 5000,
  };
}

function poster(
  context: ProxyContext,
  upstreams: Upstreams,
  target: PostTarget,
): (body: Uint8Array, done: (isAccepted: boolean) => void) => void {
  const log = context.log.area("tracing");
  const { cluster } = target;
  let hasFailed = false;
  return (body, done) => {
    postToCluster({ clusters: context.clusters, upstreams }, target, body, (reason) => {
      // One line when it breaks and one when it works again, not one for each batch.
      if (reason !== undefined && !hasFailed) log.warn("spans cannot be sent", { cluster, reason });
      if (reason === undefined && hasFailed) log.info("spans are sent again", { cluster });
      hasFailed = reason !== undefined;
      done(reason === undefined);
    });
  };
}
