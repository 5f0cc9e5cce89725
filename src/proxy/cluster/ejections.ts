/** Outlier detection of one version of a cluster: its clock, its log lines, its series. */
import type { Timer } from "../../base/clock.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { UpstreamOutcome } from "../context.ts";
import { OutlierDetector, type OutlierSettings } from "../engine/outlier-detector.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ClusterServices } from "./running-cluster.ts";

/** An endpoint that one thread has taken out for a while. */
export interface Ejection {
  readonly cluster: string;
  /** `address:port` */
  readonly endpoint: string;
  readonly durationMs: number;
}

export interface EjectionsOptions {
  readonly cluster: string;
  readonly services: ClusterServices;
  readonly series: ClusterSeries;
  /** Who may be used has changed. */
  readonly onChange: () => void;
}

export class Ejections {
  readonly #options: EjectionsOptions;
  readonly #detector: OutlierDetector<Endpoint>;
  #timer: Timer | undefined;

  constructor(settings: OutlierSettings, options: EjectionsOptions) {
    this.#options = options;
    this.#detector = this.#makeDetector(settings);
    this.#scheduleInterval(settings.intervalMs);
  }

  get count(): number {
    return this.#detector.ejectedCount;
  }

  has(endpoint: Endpoint): boolean {
    return this.#detector.isEjected(endpoint);
  }

  setMembers(members: Iterable<Endpoint>): void {
    this.#detector.setMembers(members);
  }

  report(endpoint: Endpoint, outcome: UpstreamOutcome): void {
    this.#detector.report(
      endpoint,
      outcome.kind === "response"
        ? { kind: "response", status: outcome.status }
        : { kind: "local-failure" },
      this.#nowMs,
    );
  }

  /** As another thread has decided; the caller balances anew. */
  eject(endpoint: Endpoint, durationMs: number): void {
    if (!this.has(endpoint)) endpoint.drain();
    this.#detector.eject(endpoint, durationMs, this.#nowMs);
  }

  /** It has passed an active check; true when that ends an ejection. */
  onChecked(endpoint: Endpoint): boolean {
    return this.#detector.onChecked(endpoint);
  }

  close(): void {
    this.#timer?.cancel();
  }

  get #nowMs(): number {
    return this.#options.services.clock.monotonicMs();
  }

  #makeDetector(settings: OutlierSettings): OutlierDetector<Endpoint> {
    const { cluster, services, series, onChange } = this.#options;
    const { log, random } = services;
    return new OutlierDetector<Endpoint>(
      settings,
      {
        onEject: (member, cause, durationMs) => {
          const endpoint = formatSocketAddress(member.address);
          services.onEjected?.({ cluster, endpoint, durationMs });
          series.ejectionsEnforced.add(1);
          series.onEjection("enforced", cause);
          const ejectedForMs = Math.round(durationMs);
          log.info("endpoint ejected", { cluster, endpoint, cause, ejectedForMs });
          // Other connections may fare better where the way there is what fails.
          member.drain();
          onChange();
        },
        onReturn: ({ address }) => {
          log.info("endpoint returned", { cluster, endpoint: formatSocketAddress(address) });
          onChange();
        },
        onDetected: (cause) => series.onEjection("detected", cause),
        onOverflow: () => {
          series.onEjection("overflow");
          log.debug("endpoint not ejected: too many are", { cluster });
        },
      },
      random,
    );
  }

  #scheduleInterval(intervalMs: number): void {
    this.#timer = this.#options.services.clock.schedule(intervalMs, () => {
      this.#detector.onInterval(this.#nowMs);
      this.#scheduleInterval(intervalMs);
    });
  }
}
