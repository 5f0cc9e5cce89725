/**
 * How a request's trace is told to the next hop, and read from the hop before: what the provider of a
 * connection manager's tracing asks for.
 */
import { OpenTelemetryConfig } from "../../wire/gen/ts/envoy/config/trace/v3/opentelemetry.ts";
import { SkyWalkingConfig } from "../../wire/gen/ts/envoy/config/trace/v3/skywalking.ts";
import {
  ZipkinConfig,
  ZipkinConfig_TraceContextOption as ContextOption,
} from "../../wire/gen/ts/envoy/config/trace/v3/zipkin.ts";
import type { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import type { MessageHeaders } from "./message-headers.ts";
import type { SkywalkingPropagation } from "./skywalking-tracing.ts";
import { compileSampler, type TraceSampler } from "./trace-samplers.ts";

export type Propagation =
  | W3cPropagation
  | B3Propagation
  | { readonly kind: "datadog" }
  | SkywalkingPropagation;

/** `traceparent`; B3 is kept up where it came. */
export interface W3cPropagation {
  readonly kind: "w3c";
  /** Decides of what the connection manager's shares let through; without one the caller does. */
  readonly sampler?: TraceSampler | undefined;
}

export interface B3Propagation {
  readonly kind: "b3";
  /** `traceparent` is read where B3 is absent, and written beside it. */
  readonly hasW3c: boolean;
  /** The server's span is the client's, told from the other side. */
  readonly sharesSpans: boolean;
  readonly isTraceIdLong: boolean;
}

export const tracerTypes = {
  openTelemetry: "type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig",
  zipkin: "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
  datadog: "type.googleapis.com/envoy.config.trace.v3.DatadogConfig",
  skywalking: "type.googleapis.com/envoy.config.trace.v3.SkyWalkingConfig",
} as const;

type Tracing = NonNullable<HttpConnectionManager["tracing"]>;

const samplerPath = "tracing.provider.typed_config.sampler";

export function propagationOf({ provider }: Tracing): Propagation {
  const { typeUrl = "", value = new Uint8Array(0) } = provider?.typedConfig ?? {};
  switch (typeUrl) {
    case tracerTypes.zipkin:
      return zipkinPropagation(ZipkinConfig.decode(value));
    case tracerTypes.datadog:
      return { kind: "datadog" };
    case tracerTypes.skywalking:
      return { kind: "skywalking", ...skywalkingNames(SkyWalkingConfig.decode(value)) };
    case tracerTypes.openTelemetry: {
      const { sampler } = OpenTelemetryConfig.decode(value);
      return { kind: "w3c", sampler: compileSampler(sampler, samplerPath) };
    }
    default:
      return { kind: "w3c" };
  }
}

/** Who we are, where configuration does not say. */
export interface TracedNode {
  readonly id: string;
  readonly cluster?: string;
}

/** Of a segment; empty where the node's are to be told. */
export interface SegmentNames {
  readonly service: string;
  readonly instance: string;
}

export function skywalkingNames({ clientConfig }: SkyWalkingConfig): SegmentNames {
  return { service: clientConfig?.serviceName ?? "", instance: clientConfig?.instanceName ?? "" };
}

export function namesOfNode<Names extends SegmentNames>(
  names: Names,
  { id, cluster = "" }: TracedNode,
): Names {
  const { service, instance } = names;
  return {
    ...names,
    service: service || cluster || "EnvoyProxy",
    instance: instance || id || "EnvoyProxy",
  };
}

function zipkinPropagation(config: ZipkinConfig): B3Propagation {
  return {
    kind: "b3",
    hasW3c: config.traceContextOption === ContextOption.USE_B3_WITH_W3C_PROPAGATION,
    sharesSpans: config.sharedSpanContext ?? true,
    isTraceIdLong: config.traceId128bit,
  };
}

/** Changes what the fields of a copy say of sampling, in whichever words it tells of its trace. */
export function tellSampling(headers: MessageHeaders, isSampled: boolean): void {
  const flag = isSampled ? "1" : "0";
  const change = (name: string, edit: (value: string) => string): void => {
    const value = headers.get(name);
    if (value !== undefined) headers.set(name, edit(value));
  };
  change("traceparent", (value) => value.replace(/^([^-]*-[^-]*-[^-]*-)[0-9a-f]{2}/, `$10${flag}`));
  change("b3", (value) => value.replace(/^([^-]*-[^-]*-)[01d]/, `$1${flag}`));
  change("x-b3-sampled", () => flag);
  change("x-datadog-sampling-priority", () => (isSampled ? "1" : "-1"));
  change("sw8", (value) => value.replace(/^[01]-/, `${flag}-`));
}
