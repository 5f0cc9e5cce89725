/**
 * Keeps the endpoints of a DNS cluster up to date: resolves, waits, resolves again. A name that nobody
 * answers for keeps the addresses it had, and is asked for again after pauses that grow; one that has no
 * addresses any more, or is none, has no endpoints. That of a LOGICAL_DNS cluster keeps them then, too, as in
 * Envoy.
 */
import { messageOf } from "../../base/error.ts";
import type { Timer } from "../../base/clock.ts";
import type { Resolver } from "../../net/resolver.ts";
import { parseIp } from "../engine/ip.ts";
import { othersMax } from "./assignment.ts";
import type { Discovery, DnsFamily } from "./discovery.ts";
import type { DnsPauses } from "./dns-options.ts";
import type { UpdateEvent } from "../stats/envoy-series.ts";
import type { ClusterServices, LocalityDescription } from "./running-cluster.ts";

type DnsDiscovery = Extract<Discovery, { kind: "dns" }>;

export interface DnsWatchOptions {
  readonly cluster: string;
  readonly discovery: DnsDiscovery;
  /** As written, with hostnames for addresses. */
  readonly localities: readonly LocalityDescription[];
  readonly onEndpoints: (localities: readonly LocalityDescription[]) => void;
  /** A name was asked for, to this end. */
  readonly onUpdate: (...ends: readonly UpdateEvent[]) => void;
}

/** What is known of one name. */
interface NameState {
  /** Last good answer; undefined before the first. */
  readonly addresses: readonly string[] | undefined;
  /** Answers without addresses among them. */
  readonly failures: number;
}

const unknown: NameState = { addresses: undefined, failures: 0 };
const pausesDefault: DnsPauses = { baseMs: 500, maxMs: 30_000 };
/** However short-lived or long-lived records are, a name is asked for within these bounds. */
const lifeMsMin = 1_000;
const lifeMsMax = 300_000;

export class DnsWatch {
  readonly #options: DnsWatchOptions;
  readonly #resolver: Resolver;
  readonly #services: ClusterServices;
  readonly #names = new Map<string, NameState>();
  readonly #timers = new Map<string, Timer>();
  #isComplete = false;
  #isClosed = false;

  constructor(options: DnsWatchOptions, resolver: Resolver, services: ClusterServices) {
    this.#options = options;
    this.#resolver = resolver;
    this.#services = services;
    for (const { endpoints } of options.localities) {
      for (const { address } of endpoints) this.#names.set(address.address, unknown);
    }
    void this.#resolveAll();
  }

  close(): void {
    this.#isClosed = true;
    for (const timer of this.#timers.values()) timer.cancel();
  }

  /** Endpoints are told once every name has been tried, and from then on whenever one changes. */
  async #resolveAll(): Promise<void> {
    await Promise.all([...this.#names.keys()].map((name) => this.#resolve(name)));
    this.#isComplete = true;
    this.#tell();
  }

  async #resolve(name: string): Promise<void> {
    if (parseIp(name) !== undefined) {
      this.#names.set(name, { addresses: [name], failures: 0 });
      this.#options.onUpdate("update_success");
      return;
    }
    const before = this.#names.get(name) ?? unknown;
    try {
      const { family } = this.#options.discovery;
      const isSingle = family === "ipv4" || family === "ipv6";
      const { addresses, ttlMs } = await this.#resolver.resolve(name, isSingle ? family : "any");
      if (this.#isClosed) return;
      if (addresses.length === 0 && !this.#options.discovery.isStrict) {
        throw new Error("it has no addresses");
      }
      const found = ofFamily(addresses, family);
      const failures = found.length === 0 ? before.failures + 1 : 0;
      this.#names.set(name, { addresses: found, failures });
      const isSame = hasSame(before.addresses, found);
      this.#options.onUpdate("update_success", ...(isSame ? (["update_no_rebuild"] as const) : []));
      if (failures === 1) this.#log("warn", "name of a cluster has no addresses", name);
      else if (failures < before.failures) {
        this.#log("info", "name of a cluster resolves again", name);
      }
      const lifeMs = this.#lifeMs(ttlMs);
      // Sooner than in Envoy where there is none, for it may be about to come to be.
      this.#again(name, failures === 0 ? lifeMs : Math.min(lifeMs, this.#pauseMs(failures)));
    } catch (thrown) {
      if (this.#isClosed) return;
      this.#onFailure(name, before, messageOf(thrown));
    }
    if (this.#isComplete) this.#tell();
  }

  #onFailure(name: string, before: NameState, reason: string): void {
    const failures = before.failures + 1;
    this.#names.set(name, { addresses: before.addresses, failures });
    this.#options.onUpdate("update_failure");
    // One line when it begins, not one for each attempt.
    if (failures === 1) this.#log("warn", "name of a cluster does not resolve", name, reason);
    this.#again(name, this.#pauseMs(failures));
  }

  #pauseMs(failures: number): number {
    const { pauses } = this.#options.discovery;
    const { baseMs, maxMs } = pauses ?? pausesDefault;
    const pauseMs = Math.min(maxMs, baseMs * 2 ** Math.min(failures - 1, 16));
    const drawn = this.#services.random();
    // As Envoy where it is configured; by itself it does not hurry.
    return pauses === undefined ? pauseMs * (0.5 + drawn / 2) : Math.max(1, pauseMs * drawn);
  }

  #lifeMs(ttlMs: number | undefined): number {
    const { respectsTtl, refreshMs, jitterMs } = this.#options.discovery;
    const lifeMs =
      respectsTtl && ttlMs !== undefined
        ? Math.min(lifeMsMax, Math.max(lifeMsMin, ttlMs))
        : refreshMs;
    return lifeMs + this.#services.random() * jitterMs;
  }

  #again(name: string, delayMs: number): void {
    this.#timers.set(
      name,
      this.#services.clock.schedule(delayMs, () => void this.#resolve(name)),
    );
  }

  #log(level: "info" | "warn", message: string, ...[name, reason]: [string, string?]): void {
    const { cluster } = this.#options;
    this.#services.log[level](message, {
      cluster,
      name,
      ...(reason === undefined ? {} : { reason }),
    });
  }

  #tell(): void {
    if (!this.#isClosed) this.#options.onEndpoints(this.#resolved());
  }

  #resolved(): readonly LocalityDescription[] {
    const { isStrict } = this.#options.discovery;
    return this.#options.localities.map((locality) => ({
      ...locality,
      endpoints: locality.endpoints.flatMap((endpoint) => {
        const found = this.#names.get(endpoint.address.address)?.addresses ?? [];
        const hostname = endpoint.hostname === "" ? endpoint.address.address : endpoint.hostname;
        const all = found.map((address) => ({ address, port: endpoint.address.port }));
        if (isStrict) return all.map((address) => ({ ...endpoint, hostname, address }));
        const [address, ...others] = all;
        if (address === undefined) return [];
        return [{ ...endpoint, hostname, address, others: others.slice(0, othersMax) }];
      }),
    }));
  }
}

/** A preference uses the other family only where its own has nothing. */
function ofFamily(addresses: readonly string[], family: DnsFamily): readonly string[] {
  if (family === "all") return addresses;
  const wantsIpv6 = family === "ipv6" || family === "ipv6-preferred";
  const preferred = addresses.filter((address) => address.includes(":") === wantsIpv6);
  return preferred.length > 0 ? preferred : addresses;
}

/** In whichever order: servers like to turn answers about. */
function hasSame(before: readonly string[] = [], now: readonly string[]): boolean {
  return before.length === now.length && now.every((address) => before.includes(address));
}
