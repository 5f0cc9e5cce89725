/**
 * Tracing as a connection manager's configuration says: the exporter of its provider. OpenTelemetry over
 * HTTP or gRPC, Zipkin, Datadog and SkyWalking, each to a cluster; others refuse the configuration.
 * Which requests are sampled, and how the next hop is told, is `stream-tracing.ts`.
 */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { DatadogConfig } from "../../wire/gen/ts/envoy/config/trace/v3/datadog.ts";
import { OpenTelemetryConfig } from "../../wire/gen/ts/envoy/config/trace/v3/opentelemetry.ts";
import { SkyWalkingConfig } from "../../wire/gen/ts/envoy/config/trace/v3/skywalking.ts";
import {
  ZipkinConfig,
  ZipkinConfig_CollectorEndpointVersion as EndpointVersion,
} from "../../wire/gen/ts/envoy/config/trace/v3/zipkin.ts";
import type { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { CustomTag } from "../../wire/gen/ts/envoy/type/tracing/v3/custom_tag.ts";
import {
  honouredDatadog,
  honouredSkywalking,
  honouredTelemetry,
  honouredZipkin,
} from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import type { ProxyContext } from "../context.ts";
import { refuse } from "../engine/refusal.ts";
import { DatadogSpans } from "../stats/datadog-spans.ts";
import { OtlpSpans } from "../stats/otlp-spans.ts";
import { detectResource } from "../stats/resource-detectors.ts";
import type { PostBatch, ReportEncoding } from "../stats/report-queue.ts";
import { SkywalkingSegments } from "../stats/skywalking-segments.ts";
import { SpanSink } from "../stats/span-sink.ts";
import { compileOperation, compileTags } from "../stats/span-tags.ts";
import type { SpanStyle } from "../stats/span-writer.ts";
import { ZipkinSpans } from "../stats/zipkin-spans.ts";
import type { PostTarget } from "./cluster-post.ts";
import { Kept, postsOverGrpc, postsOverHttp, reportMemory } from "./collectors.ts";
import { compileGrpcTarget } from "./grpc-target.ts";
import { compileHttpTarget } from "./http-target.ts";
import type { HttpSettings } from "./settings.ts";
import { namesOfNode, skywalkingNames, type TracedNode, tracerTypes } from "./trace-propagation.ts";

export interface SpanReporter {
  add(record: RequestRecord): void;
}

type Tracing = NonNullable<HttpConnectionManager["tracing"]>;

const path = "tracing.provider.typed_config";
const otlpPath = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const segmentsPath = "/skywalking.v3.TraceSegmentReportService/collect";
/** Envoy's. */
const pathCharsDefault = 256;

const reporters = new Kept<SpanSink>();

/** What a provider makes of requests, and where that goes. */
interface Provider {
  /** Equal for those that do the same. */
  readonly key: readonly unknown[];
  readonly encoding: () => ReportEncoding<RequestRecord>;
  readonly post: PostBatch;
  /** How many spans may wait, where configuration says so. */
  readonly pendingMax?: number | undefined;
}

/** Where spans of this connection manager go; undefined when it names no provider. */
export function compileSpanReporter(
  { tracing }: HttpConnectionManager,
  context: ProxyContext,
): SpanReporter | undefined {
  if (tracing?.provider === undefined) return undefined;
  const provider = providerOf(tracing, styleOf(tracing, context), context);
  // One for all connection managers alike, across updates: spans that wait outlive a version.
  const { operation, upstreamOperation, spawnUpstreamSpan, maxPathTagLength, verbose } = tracing;
  const tags = tracing.customTags.map((tag) => CustomTag.encode(tag).finish().join());
  const said = [spawnUpstreamSpan, operation, upstreamOperation, maxPathTagLength, verbose];
  const { encoding, post, pendingMax } = provider;
  const key = JSON.stringify([...provider.key, pendingMax, ...said, ...tags]);
  return reporters.get(context, key, () => {
    const { clock, metrics } = context;
    const memory = reportMemory(context);
    return new SpanSink({ clock, metrics, encoding: encoding(), memory, post, pendingMax });
  });
}

/** Traces tell the next hop of the node where configuration gives no other name. */
export function tracedAs(settings: HttpSettings, node: TracedNode): HttpSettings {
  const { tracing } = settings;
  if (tracing?.propagation.kind !== "skywalking") return settings;
  const propagation = namesOfNode(tracing.propagation, node);
  return { ...settings, tracing: { ...tracing, propagation } };
}

function styleOf(tracing: Tracing, { environment }: ProxyContext): SpanStyle {
  return {
    pathCharsMax: tracing.maxPathTagLength ?? pathCharsDefault,
    isVerbose: tracing.verbose,
    tags: compileTags(tracing.customTags, "tracing.custom_tags", environment),
    operation: compileOperation(tracing.operation, "tracing.operation"),
    upstreamOperation: compileOperation(tracing.upstreamOperation, "tracing.upstream_operation"),
  };
}

function providerOf(tracing: Tracing, style: SpanStyle, context: ProxyContext): Provider {
  const { typeUrl = "", value = new Uint8Array(0) } = tracing.provider?.typedConfig ?? {};
  const spawnsUpstreamSpan = tracing.spawnUpstreamSpan ?? false;
  switch (typeUrl) {
    case tracerTypes.openTelemetry:
      return openTelemetry(OpenTelemetryConfig.decode(value), context, {
        style,
        spawnsUpstreamSpan,
      });
    case tracerTypes.zipkin:
      return zipkin(ZipkinConfig.decode(value), context, { style, spawnsUpstreamSpan });
    case tracerTypes.datadog:
      return datadog(DatadogConfig.decode(value), context, { style, spawnsUpstreamSpan });
    case tracerTypes.skywalking:
      return skywalking(SkyWalkingConfig.decode(value), context, { style, spawnsUpstreamSpan });
    default:
      return refuse("tracing.provider", `${tracing.provider?.name ?? typeUrl} is not supported`);
  }
}

interface SpanOptions {
  readonly style: SpanStyle;
  readonly spawnsUpstreamSpan: boolean;
}

function openTelemetry(
  config: OpenTelemetryConfig,
  context: ProxyContext,
  options: SpanOptions,
): Provider {
  const { serviceName, grpcService, httpService, maxCacheSize, resourceDetectors } = honoured(
    config,
    honouredTelemetry,
    path,
  );
  const named = { "service.name": serviceName || "unknown_service:heddle" };
  const resource = detectResource(resourceDetectors, named, {
    path: `${path}.resource_detectors`,
    environment: context.environment,
  });
  const encoding = (): OtlpSpans => new OtlpSpans({ resource, ...options });
  if (grpcService !== undefined) {
    if (httpService !== undefined) refuse(`${path}.http_service`, "excludes grpc_service");
    const target = {
      ...compileGrpcTarget(grpcService, `${path}.grpc_service`),
      path: otlpPath,
    };
    const post = postsOverGrpc(context, target, { what: "spans" });
    return { key: ["otlp", target, resource], encoding, post, pendingMax: maxCacheSize };
  }
  const target = compileHttpTarget(httpService, "application/x-protobuf", `${path}.http_service`);
  const post = postsOverHttp(context, target, "spans");
  return { key: ["otlp", target, resource], encoding, post, pendingMax: maxCacheSize };
}

function zipkin(config: ZipkinConfig, context: ProxyContext, options: SpanOptions): Provider {
  honoured(config, honouredZipkin, path);
  if (config.collectorEndpointVersion !== EndpointVersion.HTTP_JSON) {
    refuse(`${path}.collector_endpoint_version`, "only HTTP_JSON is supported");
  }
  const target = zipkinTarget(config);
  const { id = "", zone = "", cluster = "" } = context.node ?? {};
  const { sharedSpanContext = true } = config;
  const encoding = (): ZipkinSpans =>
    new ZipkinSpans({
      style: options.style,
      node: { id, zone },
      serviceName: cluster,
      sharesSpans: sharedSpanContext,
      spawnsUpstreamSpan: options.spawnsUpstreamSpan,
    });
  const key = ["zipkin", target, sharedSpanContext];
  return { key, encoding, post: postsOverHttp(context, target, "spans") };
}

function datadog(config: DatadogConfig, context: ProxyContext, options: SpanOptions): Provider {
  honoured(config, honouredDatadog, path);
  const { collectorCluster: cluster, collectorHostname, serviceName } = config;
  if (cluster === "") refuse(`${path}.collector_cluster`, "is required");
  const target = {
    cluster,
    authority: collectorHostname === "" ? cluster : collectorHostname,
    path: "/v0.4/traces",
    contentType: "application/msgpack",
    headers: [
      ["datadog-meta-lang", "javascript"],
      ["datadog-meta-tracer-version", "heddle"],
    ] as const,
    timeoutMs: 5000,
  };
  const name = serviceName === "" ? "envoy" : serviceName;
  const { id = "", zone = "" } = context.node ?? {};
  const encoding = (): DatadogSpans =>
    new DatadogSpans({ ...options, node: { id, zone }, serviceName: name });
  const key = ["datadog", target, name];
  return { key, encoding, post: postsOverHttp(context, target, "spans") };
}

function skywalking(
  config: SkyWalkingConfig,
  context: ProxyContext,
  options: SpanOptions,
): Provider {
  const { grpcService, clientConfig } = honoured(config, honouredSkywalking, path);
  const service = compileGrpcTarget(grpcService, `${path}.grpc_service`);
  const token = clientConfig?.backendToken ?? "";
  const authentication = token === "" ? [] : [["authentication", token] as const];
  const metadata = [...service.metadata, ...authentication];
  const target = { ...service, metadata, path: segmentsPath };
  const { id = "", zone = "", cluster = "" } = context.node ?? {};
  const names = namesOfNode(skywalkingNames(config), { id, cluster });
  const encoding = (): SkywalkingSegments =>
    new SkywalkingSegments({ ...options, ...names, node: { id, zone } });
  const post = postsOverGrpc(context, target, { what: "spans", isFramed: true });
  const pendingMax = clientConfig?.maxCacheSize;
  return { key: ["skywalking", target, names], encoding, post, pendingMax };
}

function zipkinTarget(config: ZipkinConfig): PostTarget {
  const contentType = "application/json";
  if (config.collectorService !== undefined) {
    return compileHttpTarget(config.collectorService, contentType, `${path}.collector_service`);
  }
  const { collectorCluster: cluster, collectorEndpoint, collectorHostname } = config;
  if (cluster === "") refuse(`${path}.collector_cluster`, "is required");
  if (collectorEndpoint === "") refuse(`${path}.collector_endpoint`, "is required");
  const authority = collectorHostname === "" ? cluster : collectorHostname;
  return { cluster, authority, path: collectorEndpoint, contentType, timeoutMs: 5000 };
}
