import type { Counter, Gauge, Histogram, MetricRegistry } from "../../telemetry/metrics.ts";
import { typeLabel } from "../../xds/snapshot.ts";

/** The control plane's own metrics, under istiod's names where the meaning is istiod's. */
export class ControlMetrics {
  readonly connected: Gauge;
  readonly services: Gauge;
  readonly virtualServices: Gauge;
  readonly rejects: Counter;
  readonly convergenceSeconds: Histogram;
  readonly translateSeconds: Histogram;
  readonly csrs: Counter;
  readonly issued: Counter;
  readonly refused: Counter;
  readonly authenticationFailures: Counter;
  readonly rootExpiry: Gauge;
  readonly #registry: MetricRegistry;

  constructor(registry: MetricRegistry) {
    this.#registry = registry;
    this.connected = registry.gauge("pilot_xds", "Proxies connected over xDS.");
    this.services = registry.gauge("pilot_services", "Services known.");
    this.virtualServices = registry.gauge("pilot_virt_services", "VirtualServices known.");
    this.rejects = registry.counter("pilot_total_xds_rejects", "Responses that proxies refused.");
    this.convergenceSeconds = registry.histogram(
      "pilot_proxy_convergence_time",
      "Seconds from a change until a proxy has acknowledged what it means for it.",
      secondsBuckets,
    );
    this.translateSeconds = registry.histogram(
      "pilot_xds_push_time",
      "Seconds it took to translate the configuration for all proxies.",
      secondsBuckets,
    );
    this.csrs = registry.counter("citadel_server_csr_count", "Certificate requests received.");
    this.issued = registry.counter(
      "citadel_server_success_cert_issuance_count",
      "Certificates issued.",
    );
    this.refused = registry.counter("citadel_server_csr_refused_count", "Requests refused.");
    this.authenticationFailures = registry.counter(
      "citadel_server_authentication_failure_count",
      "Calls by nobody known.",
    );
    this.rootExpiry = registry.gauge(
      "citadel_server_root_cert_expiry_timestamp",
      "When the root certificate expires, in seconds since the epoch.",
    );
  }

  sent(typeUrl: string, bytes: number): void {
    const type = typeLabel(typeUrl).toLowerCase();
    this.#registry.counter("pilot_xds_pushes", "Responses sent.", { type }).add();
    this.#registry
      .counter("heddle_xds_sent_bytes_total", "Bytes of responses sent.", { type })
      .add(bytes);
  }

  triggered(type: "config" | "workloads" | "proxy"): void {
    this.#registry.counter("pilot_push_triggers", "Causes of translation.", { type }).add();
  }

  limit(limit: string): void {
    this.#registry
      .counter("heddle_control_limit_total", "What limits of the control plane refused.", { limit })
      .add();
  }
}

const secondsBuckets = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 3, 5, 10, 20, 30];
