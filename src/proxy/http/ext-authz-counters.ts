/** How often an authorization service was asked, and what came of it. */
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";
import type { ExtAuthz } from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";

export interface AuthzCounters {
  readonly ok: Counter;
  readonly denied: Counter;
  readonly error: Counter;
  readonly invalid: Counter;
  readonly disabled: Counter;
  readonly failureModeAllowed: Counter;
  readonly ignoredMetadata: Counter;
  /** Not of Envoy, which has no such bound. */
  readonly cutDenials: Counter;
}

type EnvoyCount = Exclude<keyof AuthzCounters, "cutDenials">;
/** What is also counted for the cluster that a request is for. */
export type ClusterCount = Exclude<EnvoyCount, "disabled" | "ignoredMetadata">;

const series: { readonly [What in EnvoyCount]: readonly [suffix: string, help: string] } = {
  ok: ["ok", "Requests that an authorization service let pass"],
  denied: ["denied", "Requests that an authorization service denied"],
  error: ["error", "Questions to an authorization service without an answer"],
  invalid: ["invalid", "Answers of an authorization service that cannot be acted on"],
  disabled: ["disabled", "Requests that no authorization service was asked about"],
  failureModeAllowed: [
    "failure_mode_allowed",
    "Requests that passed because an authorization service did not answer",
  ],
  ignoredMetadata: [
    "ignored_dynamic_metadata",
    "Answers of an authorization service whose metadata nobody wanted",
  ],
};

function prefixLabel({ statPrefix }: ExtAuthz): Readonly<Record<string, string>> {
  return statPrefix === "" ? {} : { ext_authz_prefix: statPrefix };
}

export function countersOf(
  config: ExtAuthz,
  place: { readonly metrics: MetricRegistry; readonly statPrefix: string },
): AuthzCounters {
  const labels = { http_conn_manager_prefix: place.statPrefix, ...prefixLabel(config) };
  const counter = (what: EnvoyCount): Counter => {
    const [suffix, help] = series[what];
    return place.metrics.counter(`envoy_http_ext_authz_${suffix}`, help, labels);
  };
  return {
    ok: counter("ok"),
    denied: counter("denied"),
    error: counter("error"),
    invalid: counter("invalid"),
    disabled: counter("disabled"),
    failureModeAllowed: counter("failureModeAllowed"),
    ignoredMetadata: counter("ignoredMetadata"),
    cutDenials: place.metrics.counter(
      "heddle_http_ext_authz_cut_denials_total",
      "Denials of an authorization service whose body was cut: too long, or not sent to its end",
      labels,
    ),
  };
}

/** By the cluster that a request is for: of the configuration alone, so there are no more of them than of these. */
export function clusterCounting(
  config: ExtAuthz,
  metrics: MetricRegistry,
): (what: ClusterCount, cluster: string) => Counter {
  const counters = new Map<string, Counter>();
  return (what, cluster) => {
    const key = `${what} ${cluster}`;
    let counter = counters.get(key);
    if (counter === undefined) {
      const [suffix, help] = series[what];
      const labels = { cluster_name: cluster, ...prefixLabel(config) };
      counter = metrics.counter(`envoy_cluster_ext_authz_${suffix}`, help, labels);
      counters.set(key, counter);
    }
    return counter;
  };
}
