/** The listener filters of a Listener, in their order: what is found out about a connection before its chain. */
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { ListenerFilter } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { ProxyProtocol } from "../../wire/gen/ts/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.ts";
import { TlsInspector } from "../../wire/gen/ts/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.ts";
import { honouredProxyProtocol, honouredTlsInspector } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import { refuse } from "../engine/refusal.ts";
import { type ClientHeaderPlan, compileClientHeader } from "./client-header.ts";
import { compilePredicate, type PortPredicate } from "./filter-predicate.ts";

/** One filter. It runs unless it is off for the port that the connection goes to by then. */
export interface ListenerStep {
  readonly kind: "original-destination" | "proxy-header" | "tls" | "http";
  readonly isOff: PortPredicate;
  /** Of the one that reads PROXY headers. */
  readonly header: ClientHeaderPlan | undefined;
  /** Equal for those that find out the same. */
  readonly content: string;
}

const prefix = "type.googleapis.com/envoy.extensions.filters.listener.";

/** Throws a refusal. */
export function compileListenerFilters(
  filters: readonly ListenerFilter[],
  metrics?: MetricRegistry,
): readonly ListenerStep[] {
  return filters.map((filter, i) => compileStep(filter, `listener_filters[${i}]`, metrics));
}

function compileStep(
  filter: ListenerFilter,
  place: string,
  metrics: MetricRegistry | undefined,
): ListenerStep {
  const isOff = compilePredicate(filter.filterDisabled, `${place}.filter_disabled`);
  const path = `${place}.typed_config`;
  const step = { isOff, header: undefined, content: "" };
  switch (filter.typedConfig?.typeUrl) {
    case `${prefix}original_dst.v3.OriginalDst`:
      return { ...step, kind: "original-destination" };
    case `${prefix}tls_inspector.v3.TlsInspector`:
      honoured(TlsInspector.decode(filter.typedConfig.value), honouredTlsInspector, path);
      return { ...step, kind: "tls" };
    case `${prefix}http_inspector.v3.HttpInspector`:
      return { ...step, kind: "http" };
    case `${prefix}proxy_protocol.v3.ProxyProtocol`: {
      const decoded = ProxyProtocol.decode(filter.typedConfig.value);
      const config = honoured(decoded, honouredProxyProtocol, path);
      const header = compileClientHeader(config, metrics, path);
      const content = filter.typedConfig.value.join();
      return { isOff, header, content, kind: "proxy-header" };
    }
    case undefined:
    default:
      return refuse(path, `'${filter.typedConfig?.typeUrl ?? filter.name}' is not supported`);
  }
}

/** Equal for listeners that learn the same of a connection to a port. */
export function stepsAt(steps: readonly ListenerStep[], port: number): string {
  return steps
    .filter(({ kind, isOff }) => kind !== "original-destination" && !isOff(port))
    .map(({ kind, content }) => `${kind} ${content}`)
    .join(";");
}
