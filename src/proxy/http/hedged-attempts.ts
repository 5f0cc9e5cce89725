/**
 * Attempts that took their time and go on beside the one that was begun after them
 * (`hedge_on_per_try_timeout`). The first good answer is the client's; a bad one counts only when
 * nobody else is left who might do better.
 */
import type { ChannelError } from "../../net/channel.ts";
import type { UpstreamEndpoint } from "../context.ts";
import type {
  UpgradedExchange,
  UpstreamExchange,
  UpstreamReset,
  UpstreamUser,
} from "./upstream-exchange.ts";

/** Whose attempts they are. */
export interface HedgingRequest extends UpstreamUser {
  /** The answer of an attempt that was left behind. True: it is the client's. */
  onLateHead(attempt: HedgedAttempt): boolean;
  /** An attempt that was left behind has failed. */
  onLateReset(kind: UpstreamReset, error: ChannelError | undefined): void;
}

export interface LateAttempt {
  readonly exchange: UpstreamExchange;
  readonly endpoint: UpstreamEndpoint | undefined;
  readonly startMs: number;
}

export class HedgedAttempts {
  readonly #owner: HedgingRequest;
  readonly #all = new Set<HedgedAttempt>();

  constructor(owner: HedgingRequest) {
    this.#owner = owner;
  }

  /** Who may still answer. */
  get count(): number {
    return this.#all.size;
  }

  add(late: LateAttempt): void {
    const attempt = new HedgedAttempt(this.#owner, this, late);
    this.#all.add(attempt);
    late.exchange.handTo(attempt);
  }

  remove(attempt: HedgedAttempt): void {
    this.#all.delete(attempt);
  }

  /** Their request's time is over; how many had no answer. */
  end(): number {
    for (const { endpoint } of this.#all) {
      endpoint?.stats?.onTimeout();
      endpoint?.stats?.onAnswer(true);
    }
    return this.#all.size;
  }

  /** Nobody waits for any of them. */
  abandon(): void {
    for (const attempt of this.#all) attempt.abandon();
  }
}

export class HedgedAttempt implements UpstreamUser, LateAttempt {
  readonly isHeadRequest: boolean;
  readonly isUpgradeRequest = false;
  readonly exchange: UpstreamExchange;
  readonly endpoint: UpstreamEndpoint | undefined;
  readonly startMs: number;
  readonly #owner: HedgingRequest;
  readonly #others: HedgedAttempts;
  /** The request's answer is the one that comes here. */
  #isChosen = false;
  #isOver = false;

  constructor(owner: HedgingRequest, others: HedgedAttempts, late: LateAttempt) {
    this.isHeadRequest = owner.isHeadRequest;
    this.exchange = late.exchange;
    this.endpoint = late.endpoint;
    this.startMs = late.startMs;
    this.#owner = owner;
    this.#others = others;
  }

  abandon(): void {
    this.#others.remove(this);
    if (this.#isOver) return;
    this.#isOver = true;
    this.exchange.abandon();
    if (this.endpoint !== undefined) this.endpoint.active--;
  }

  onAttached(): void {}

  onPoolFailure(): void {}

  onInterim(status: number): void {
    this.#owner.onInterim(status);
  }

  onResponseHead(): void {
    this.#others.remove(this);
    this.#isChosen = this.#owner.onLateHead(this);
    if (!this.#isChosen) this.abandon();
  }

  onUpgraded(upgraded: UpgradedExchange): void {
    upgraded.abandon();
  }

  onResponseData(chunk: Buffer, from: number, to: number): void {
    if (this.#isChosen) this.#owner.onResponseData(chunk, from, to);
  }

  onResponseEnd(): void {
    if (this.#isChosen) this.#owner.onResponseEnd();
  }

  onReleased(): void {
    if (this.#isChosen) this.#owner.onReleased();
  }

  onResponseFlush(): void {
    if (this.#isChosen) this.#owner.onResponseFlush();
  }

  onUpstreamReset(kind: UpstreamReset, error: ChannelError | undefined): void {
    if (this.#isChosen) return this.#owner.onUpstreamReset(kind, error);
    this.#others.remove(this);
    this.#isOver = true;
    if (this.endpoint !== undefined) {
      this.endpoint.active--;
      this.endpoint.report({ kind: "reset" });
      this.endpoint.stats?.onAnswer(true);
    }
    this.#owner.onLateReset(kind, error);
  }

  onUpstreamDrain(): void {
    if (this.#isChosen) this.#owner.onUpstreamDrain();
  }
}
