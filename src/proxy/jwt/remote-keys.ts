/**
 * Keys of an issuer that a server publishes: fetched when a request needs them, kept for as long as
 * the configuration says. Requests that come meanwhile wait for the same answer. With `async_fetch`
 * they are fetched before the first request comes, and again before their time is over, while the old
 * ones serve.
 */
import type { Clock } from "../../base/clock.ts";
import type { RemoteJwks } from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { type CallRequest, callCluster, type CallServices } from "../http/cluster-call.ts";
import { Deadline, type DeadlineOwner } from "../http/deadline-wheel.ts";
import type { Preparation } from "../preparation.ts";
import { type KeySet, parseKeySet } from "./keys.ts";
import type { KeySource, KeyState } from "./verified-tokens.ts";

export interface RemoteKeysServices extends CallServices {
  readonly clock: Clock;
  readonly random: () => number;
  readonly onFetched: (isFetched: boolean) => void;
}

/** Before their end at which keys are asked for again in the background. */
const aheadMs = 5_000;
/** Nobody is asked again in the background sooner. */
const pauseMinMs = 100;
const keptDefaultMs = 600_000;
const answerBytesMax = 1024 * 1024;
const backOffDefaultMs = 1_000;

export class RemoteKeys implements KeySource, DeadlineOwner {
  readonly ahead: Preparation | undefined;
  readonly #services: RemoteKeysServices;
  readonly #request: CallRequest;
  readonly #keptMs: number;
  /** Until the next fetch in the background, after one that failed. */
  readonly #retryAfterMs: number;
  readonly #retriesMax: number;
  readonly #backOffMs: number;
  readonly #backOffMaxMs: number;
  /** Until the next try. */
  readonly #backOff: Deadline = new Deadline(this);
  /** Until the next fetch in the background. */
  readonly #refetch: Deadline = new Deadline(this);
  readonly #waiting = new Set<(isFetched: boolean) => void>();
  #keys: KeySet | undefined;
  #isFetching = false;
  #retries = 0;
  /** Monotonic. */
  #fetchedMs = 0;
  /** Fetched in the background, whether requests come or not. */
  #isAhead = false;
  /** Told when the first answer is there, or there is none. */
  #onBegun: (() => void) | undefined;

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
    this.#retryAfterMs = durationMs(asyncFetch?.failedRefetchDuration) ?? backOffDefaultMs;
    this.ahead =
      asyncFetch === undefined
        ? undefined
        : {
            begin: (onBegun) => this.#beginAhead(onBegun, asyncFetch.fastListener),
            end: () => this.#endAhead(),
          };
    this.#retriesMax = retryPolicy === undefined ? 0 : (retryPolicy.numRetries ?? 1);
    this.#backOffMs = durationMs(retryPolicy?.retryBackOff?.baseInterval) ?? backOffDefaultMs;
    this.#backOffMaxMs = durationMs(retryPolicy?.retryBackOff?.maxInterval) ?? 10 * this.#backOffMs;
  }

  state(): KeyState {
    const keys = this.#keys;
    if (keys === undefined) return { kind: "wanted" };
    // The old ones serve on where no others can be had, as in Envoy.
    if (this.#isAhead) return { kind: "here", keys };
    const ageMs = this.#services.clock.monotonicMs() - this.#fetchedMs;
    return ageMs < this.#keptMs ? { kind: "here", keys } : { kind: "wanted" };
  }

  latest(): KeySet | undefined {
    return this.#keys;
  }

  fetch(onFetched: (isFetched: boolean) => void): () => void {
    this.#waiting.add(onFetched);
    this.#start();
    return () => void this.#waiting.delete(onFetched);
  }

  #beginAhead(onBegun: () => void, isFast: boolean): boolean {
    if (this.#isAhead) return false;
    this.#isAhead = true;
    this.#services.upstreams.wheel.touch();
    this.#start();
    // It has failed at once, or nobody waits for it.
    if (isFast || !this.#isFetching) return false;
    this.#onBegun = onBegun;
    return true;
  }

  #endAhead(): void {
    this.#isAhead = false;
    this.#onBegun = undefined;
    this.#services.upstreams.wheel.release(this.#refetch);
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
    const { random, upstreams } = this.#services;
    if (this.#retries >= this.#retriesMax) return this.#end(false);
    const waitMs = random() * Math.min(this.#backOffMs * 2 ** this.#retries, this.#backOffMaxMs);
    this.#retries++;
    upstreams.wheel.touch();
    upstreams.wheel.arm(this.#backOff, waitMs);
  }

  onDeadline(deadline: Deadline): void {
    if (deadline === this.#refetch) this.#start();
    else this.#ask();
  }

  #end(isFetched: boolean): void {
    this.#isFetching = false;
    this.#services.onFetched(isFetched);
    if (this.#isAhead) this.#fetchAgain(isFetched);
    const onBegun = this.#onBegun;
    this.#onBegun = undefined;
    onBegun?.();
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const tell of waiting) tell(isFetched);
  }

  #fetchAgain(isFetched: boolean): void {
    const { wheel } = this.#services.upstreams;
    const goodMs = this.#keptMs > aheadMs ? this.#keptMs - aheadMs : this.#keptMs;
    wheel.touch();
    wheel.arm(this.#refetch, Math.max(pauseMinMs, isFetched ? goodMs : this.#retryAfterMs));
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
