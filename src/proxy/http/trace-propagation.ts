/**
 * How a request's trace is told to the next hop, and read from the hop before: what the provider of a
 * connection manager's tracing asks for.
 */
import {
  ZipkinConfig,
  ZipkinConfig_TraceContextOption as ContextOption,
} from "../../wire/gen/ts/envoy/config/trace/v3/zipkin.ts";
import type { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";

export type Propagation =
  /** `traceparent`; B3 is kept up where it came. */
  { readonly kind: "w3c" } | B3Propagation;

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
} as const;

type Tracing = NonNullable<HttpConnectionManager["tracing"]>;

export function propagationOf({ provider }: Tracing): Propagation {
  const { typeUrl, value } = provider?.typedConfig ?? {};
  if (typeUrl !== tracerTypes.zipkin || value === undefined) return { kind: "w3c" };
  const config = ZipkinConfig.decode(value);
  return {
    kind: "b3",
    hasW3c: config.traceContextOption === ContextOption.USE_B3_WITH_W3C_PROPAGATION,
    sharesSpans: config.sharedSpanContext ?? true,
    isTraceIdLong: config.traceId128bit,
  };
}
