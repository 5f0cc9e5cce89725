/**
 * Keys of an issuer that a server publishes: fetched when a request needs them, kept for as long as
 * the configuration says. Requests that come meanwhile wait for the same answer. With `async_fetch`
 * they are asked for again before their time is over, while the old ones serve.
 */
import type { Clock } from "../../base/clock.ts";
import type { RemoteJwks } from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { type CallRequest, callCluster, type CallServices } from "../http/cluster-call.ts";
import { Deadline, type DeadlineOwner } from "../http/deadline-wheel.ts";
import { type KeySet, parseKeySet } from "./keys.ts";
import type { KeySource, KeyState } from "./verified-tokens.ts";

export interface RemoteKeysServices extends CallServices {
  readonly clock: Clock;
  readonly random: () => number;
  readonly onFetched: (isFetched: boolean) => void;
}

/** Seconds before their end at which keys are asked for again in the background. */
const aheadMs = 5_000;
const keptDefaultMs = 600_000;
const answerBytesMax = 1024 * 1024;
const backOffDefaultMs = 1_000;

export class RemoteKeys implements KeySource, DeadlineOwner {
  readonly #services: RemoteKeysServices;
  readonly #request: CallRequest;
  readonly #keptMs: number;
  /** Undefined: not in the background. */
  readonly #retryAfterMs: number | undefined;
  readonly #retriesMax: number;
  readonly #backOffMs: number;
  readonly #backOffMaxMs: number;
  /** Until the next try. */
  readonly #backOff: Deadline = new Deadline(this);
  readonly #waiting = new Set<(isFetched: boolean) => void>();
  #keys: KeySet | undefined;
  #isFetching = false;
  #retries = 0;
  /** Monotonic. */
  #fetchedMs = 0;
  #failedMs = Number.NEGATIVE_INFINITY;

  constructor(config: RemoteJwks, services: RemoteKeysServices, path: string) {
    const { httpUri, cacheDuration, asyncFetch, retryPolicy } = config;
    const { uri = "", cluster = "", timeout } = httpUri ?? {};
    const parsed = /^https?:\/\/([^/?#]+)([/?].*)?$/.exec(uri);
    if (parsed === null) refuse(`${path}.http_uri.uri`, `'${uri}' is not http(s)://host/path`);
    if (cluster === "") refuse(`${path}.http_uri.cluster`, "is required");
    this.#services = services;
    this.#request = {
      cluster,
      method: "GET",
      path: parsed[2] ?? "/",
      authority: parsed[1] ?? "",
      headers: [],
      body: undefined,
      timeoutMs: durationMs(timeout) ?? 1_000,
      answerBytesMax,
    };
    this.#keptMs = durationMs(cacheDuration) ?? keptDefaultMs;
    this.#retryAfterMs =
      asyncFetch === undefined
        ? undefined
        : (durationMs(asyncFetch.failedRefetchDuration) ?? backOffDefaultMs);
    this.#retriesMax = retryPolicy === undefined ? 0 : (retryPolicy.numRetries ?? 1);
    this.#backOffMs = durationMs(retryPolicy?.retryBackOff?.baseInterval) ?? backOffDefaultMs;
    this.#backOffMaxMs = durationMs(retryPolicy?.retryBackOff?.maxInterval) ?? 10 * this.#backOffMs;
  }

  state(): KeyState {
    const keys = this.#keys;
    if (keys === undefined) return { kind: "wanted" };
    const nowMs = this.#services.clock.monotonicMs();
    const ageMs = nowMs - this.#fetchedMs;
    if (this.#retryAfterMs === undefined) {
      return ageMs < this.#keptMs ? { kind: "here", keys } : { kind: "wanted" };
    }
    const maySoonAsk = nowMs - this.#failedMs >= this.#retryAfterMs;
    // The old ones serve on where no others can be had, as in Envoy.
    if (ageMs >= this.#keptMs && maySoonAsk) return { kind: "wanted" };
    if (ageMs >= Math.max(this.#keptMs - aheadMs, this.#keptMs / 2) && maySoonAsk) this.#start();
    return { kind: "here", keys };
  }

  latest(): KeySet | undefined {
    return this.#keys;
  }

  fetch(onFetched: (isFetched: boolean) => void): () => void {
    this.#waiting.add(onFetched);
    this.#start();
    return () => void this.#waiting.delete(onFetched);
  }

  #start(): void {
    if (this.#isFetching) return;
    this.#isFetching = true;
    this.#retries = 0;
    this.#ask();
  }

  #ask(): void {
    callCluster(this.#services, this.#request, {
      onAnswer: ({ status, body }) => {
        const keys = status === 200 ? parseKeySet(body.toString()) : undefined;
        if (keys === undefined || keys.size === 0) this.#onFailure();
        else this.#onKeys(keys);
      },
      onFailure: () => this.#onFailure(),
    });
  }

  #onKeys(keys: KeySet): void {
    this.#keys = keys;
    this.#fetchedMs = this.#services.clock.monotonicMs();
    this.#end(true);
  }

  #onFailure(): void {
    const { clock, random, upstreams } = this.#services;
    if (this.#retries >= this.#retriesMax) {
      this.#failedMs = clock.monotonicMs();
      return this.#end(false);
    }
    const waitMs = random() * Math.min(this.#backOffMs * 2 ** this.#retries, this.#backOffMaxMs);
    this.#retries++;
    upstreams.wheel.touch();
    upstreams.wheel.arm(this.#backOff, waitMs);
  }

  onDeadline(): void {
    this.#ask();
  }

  #end(isFetched: boolean): void {
    this.#isFetching = false;
    this.#services.onFetched(isFetched);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const tell of waiting) tell(isFetched);
  }
}

/** Keys of the configuration: they are always here. */
export function localKeys(keys: KeySet): KeySource {
  const state: KeyState = { kind: "here", keys };
  return {
    state: () => state,
    latest: () => keys,
    fetch(onFetched) {
      onFetched(false);
      return () => {};
    },
  };
}
