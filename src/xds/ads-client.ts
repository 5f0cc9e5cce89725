import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import type { GrpcChannel, GrpcClientStream } from "../net/grpc-client.ts";
import { GrpcError } from "../net/grpc.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Node } from "../wire/gen/ts/envoy/config/core/v3/base.ts";
import { grpcStatus, grpcStatusName } from "../wire/grpc.ts";
import { backOffMs } from "./client/back-off.ts";
import { deltaProtocol } from "./client/delta-protocol.ts";
import type { DeltaResource, Wish } from "./client/delta-subscription.ts";
import type { ClientProtocol, ClientSubscription, EncodeRequest } from "./client/protocol.ts";
import { sotwProtocol } from "./client/sotw-protocol.ts";
import { typeUrls, type XdsFeed, type XdsUpdate } from "./feed.ts";
import { typeLabel } from "./snapshot.ts";

/**
 * The client of an aggregated discovery service: one stream for all types, made
 * again with jittered back-off whenever it is lost. What was accepted is kept and told to the next
 * server, so a reconnect transfers only what changed. Names asked for while clusters or listeners
 * are being applied are requested together, after the answer.
 */
export interface AdsClientOptions {
  readonly channel: GrpcChannel;
  /** How log lines call the server. */
  readonly serverName: string;
  /** Sent once per stream. */
  readonly node: Node;
  /** Headers of each new stream: the bearer token. */
  readonly metadata?: () => Readonly<Record<string, string>>;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onStatus?: (status: AdsStatus) => void;
  /** Between 0 and 1; for tests. */
  readonly random?: () => number;
  /**
   * Ask for endpoints and routes also while clusters or listeners are being applied: for a relay,
   * which needs them to pass on a whole before its proxy can accept the first half.
   */
  readonly requestsWhileApplying?: boolean;
  /** Incremental unless named: what every server of ours speaks. */
  readonly variant?: "delta" | "sotw";
  /** The gRPC method, where it is not the aggregated one: a server of secrets has its own. */
  readonly path?: string;
}

export interface AdsStatus {
  readonly stream:
    | { readonly kind: "connecting" }
    | { readonly kind: "connected"; readonly sinceMs: number }
    | {
        readonly kind: "lost";
        readonly sinceMs: number;
        readonly code: string;
        readonly reason: string;
        readonly nextAttemptAtMs: number;
      };
  readonly types: ReadonlyMap<string, AdsTypeStatus>;
}

export interface AdsTypeStatus {
  /** System version of the last response that was accepted. */
  readonly version: string | undefined;
  readonly ackedAtMs: number | undefined;
  readonly refusal: { readonly reason: string; readonly atMs: number } | undefined;
  readonly refusals: number;
  readonly resources: number;
}

const protocols = { delta: deltaProtocol, sotw: sotwProtocol } as const;

/** How long a name may stay without an answer before it counts as one that does not exist. */
const unansweredMs = 15_000;

/** While one of these is being applied, requests for the other wait. */
const pausedBy: ReadonlyMap<string, string> = new Map([
  [typeUrls.endpoint, typeUrls.cluster],
  [typeUrls.route, typeUrls.listener],
  [typeUrls.extension, typeUrls.listener],
]);

const unanswered: AdsTypeStatus = {
  version: undefined,
  ackedAtMs: undefined,
  refusal: undefined,
  refusals: 0,
  resources: 0,
};

export class AdsClient implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => {};
  readonly #options: AdsClientOptions;
  readonly #protocol: ClientProtocol;
  readonly #subscriptions = new Map<string, ClientSubscription>();
  /** Per type: until names without an answer are given up. */
  readonly #waits = new Map<string, Timer>();
  readonly #statuses = new Map<string, AdsTypeStatus>();
  /** Updates per type that were handed out and not answered yet. */
  readonly #applying = new Map<string, number>();
  #streamStatus: AdsStatus["stream"] = { kind: "connecting" };
  #stream: GrpcClientStream | undefined;
  /** Grows with each stream; an answer to an earlier one is not written. */
  #streamNumber = 0;
  #hasSentNode = false;
  #attempts = 0;
  #retry: Timer | undefined;
  #isFlushDue = false;
  #isClosed = false;

  constructor(options: AdsClientOptions) {
    this.#options = options;
    this.#protocol = protocols[options.variant ?? "delta"];
  }

  /** Connects, for as long as it takes, until `close()`. */
  start(): void {
    void this.#connect();
  }

  get status(): AdsStatus {
    return { stream: this.#streamStatus, types: new Map(this.#statuses) };
  }

  subscribe(typeUrl: string, names: Wish): void {
    const subscription = this.#subscriptions.get(typeUrl);
    if (subscription === undefined) {
      const wish = names === "*" ? names : new Set(names);
      this.#subscriptions.set(typeUrl, this.#protocol.subscription(typeUrl, wish));
      this.#statuses.set(typeUrl, unanswered);
    } else {
      subscription.setWish(names);
    }
    this.#scheduleFlush();
  }

  refresh(typeUrl: string, name: string): void {
    this.#subscriptions.get(typeUrl)?.refresh?.(name);
    this.#scheduleFlush();
  }

  close(): void {
    this.#isClosed = true;
    this.#retry?.cancel();
    for (const wait of this.#waits.values()) wait.cancel();
    this.#stream?.cancel();
  }

  async #connect(): Promise<void> {
    const number = ++this.#streamNumber;
    let hasAnswered = false;
    const handler = {
      onMessage: (message: Uint8Array): void => {
        if (number !== this.#streamNumber) return;
        if (!hasAnswered) this.#onConnected();
        hasAnswered = true;
        this.#onResponse(message);
      },
      onClose: (error: GrpcError | undefined): void => {
        if (number === this.#streamNumber) this.#onLost(error, hasAnswered);
      },
    };
    try {
      const metadata = this.#options.metadata?.() ?? {};
      const path = this.#options.path ?? this.#protocol.path;
      const stream = await this.#options.channel.openStream(path, handler, { metadata });
      if (this.#isClosed) stream.cancel();
      this.#stream = stream;
      this.#hasSentNode = false;
      this.#flush();
    } catch (error) {
      const reason = error instanceof GrpcError ? error : unavailable(error);
      this.#onLost(reason, false);
    }
  }

  #onConnected(): void {
    const { clock, log, serverName } = this.#options;
    this.#attempts = 0;
    const before = this.#streamStatus;
    const lostMs = before.kind === "lost" ? Math.round(clock.nowMs() - before.sinceMs) : undefined;
    this.#streamStatus = { kind: "connected", sinceMs: clock.nowMs() };
    log.info("xds stream up", { server: serverName, ...(lostMs === undefined ? {} : { lostMs }) });
    this.#tellStatus();
  }

  #onLost(error: GrpcError | undefined, hadAnswered: boolean): void {
    const { clock, log, serverName, random = Math.random } = this.#options;
    this.#stream = undefined;
    this.#streamNumber += 1;
    for (const subscription of this.#subscriptions.values()) subscription.streamLost();
    if (this.#isClosed) return;
    // A server that ended a working stream in order wants us elsewhere, not away.
    const isOrderly = error === undefined && hadAnswered;
    const retryMs = isOrderly ? random() * 500 : backOffMs(this.#attempts++, random());
    const code = grpcStatusName(error?.code ?? grpcStatus.ok);
    const reason = error?.message ?? "ended by the server";
    const fields = { server: serverName, code, reason, retryMs: Math.round(retryMs) };
    const before = this.#streamStatus;
    if (isOrderly) log.info("xds stream ended by the server", fields);
    else if (before.kind === "lost") log.debug("xds stream not back yet", fields);
    else log.warn(before.kind === "connected" ? "xds stream lost" : "xds stream not up", fields);
    const nowMs = clock.nowMs();
    const sinceMs = before.kind === "lost" ? before.sinceMs : nowMs;
    this.#streamStatus = { kind: "lost", sinceMs, code, reason, nextAttemptAtMs: nowMs + retryMs };
    this.#tellStatus();
    this.#retry = clock.schedule(retryMs, () => void this.#connect());
  }

  #onResponse(message: Uint8Array): void {
    const response = this.#protocol.decode(message);
    if (response === undefined) {
      this.#options.log.error("xds response cannot be decoded", { bytes: message.length });
      this.#stream?.cancel();
      return;
    }
    const subscription = this.#subscriptions.get(response.typeUrl);
    if (subscription === undefined) return; // never asked for
    const { nonce, version, broken } = response;
    const received =
      broken === undefined
        ? subscription.receive(response)
        : { kind: "broken" as const, reason: broken };
    if (received.kind === "broken") {
      this.#answer(subscription, { nonce, version, refusal: received.reason });
      return;
    }
    this.#deliver(subscription, { ...received, nonce, version });
  }

  #deliver(subscription: ClientSubscription, response: Delivery): void {
    const { typeUrl } = subscription;
    const { resources, removed, unchanged = [], nonce, version } = response;
    const stream = this.#streamNumber;
    let hasResponded = false;
    this.#applying.set(typeUrl, (this.#applying.get(typeUrl) ?? 0) + 1);
    this.onUpdate({
      typeUrl,
      version,
      resources,
      removed,
      unchanged,
      respond: (refusal) => {
        if (hasResponded) return;
        hasResponded = true;
        this.#applying.set(typeUrl, (this.#applying.get(typeUrl) ?? 1) - 1);
        if (refusal === undefined) subscription.accepted(response, response);
        if (stream === this.#streamNumber) this.#answer(subscription, { nonce, version, refusal });
        this.#scheduleFlush();
      },
    });
  }

  #answer(subscription: ClientSubscription, answer: AnswerFields): void {
    const { typeUrl } = subscription;
    const { clock, log } = this.#options;
    const { refusal } = answer;
    const before = this.#statuses.get(typeUrl) ?? unanswered;
    const nowMs = clock.nowMs();
    const resources = subscription.held.size;
    if (refusal === undefined) {
      const { version } = answer;
      this.#statuses.set(typeUrl, { ...before, version, ackedAtMs: nowMs, refusal, resources });
    } else {
      log.warn("configuration refused", { type: typeLabel(typeUrl), reason: refusal });
      const refusals = before.refusals + 1;
      const last = { reason: refusal, atMs: nowMs };
      this.#statuses.set(typeUrl, { ...before, refusal: last, refusals, resources });
    }
    this.#send(subscription.answer(answer, refusal));
    this.#tellStatus();
  }

  /** Several `subscribe()` calls in a row become one request for each type. */
  #scheduleFlush(): void {
    if (this.#isFlushDue) return;
    this.#isFlushDue = true;
    queueMicrotask(() => {
      this.#isFlushDue = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#stream === undefined) return;
    for (const subscription of inOrder(this.#subscriptions)) {
      const { typeUrl } = subscription;
      const isRelay = this.#options.requestsWhileApplying === true;
      const pausing = isRelay ? undefined : pausedBy.get(typeUrl);
      if (pausing !== undefined && (this.#applying.get(pausing) ?? 0) > 0) continue;
      const request = subscription.nextRequest();
      if (request === undefined) continue;
      this.#send(request);
      this.#awaitNames(subscription);
    }
  }

  #send(encode: EncodeRequest): void {
    const node = this.#hasSentNode ? undefined : this.#options.node;
    this.#hasSentNode = true;
    this.#stream?.write(encode(node));
  }

  /** Where servers do not say that a name does not exist, silence says so in the end. */
  #awaitNames(subscription: ClientSubscription): void {
    const { typeUrl } = subscription;
    // Of filters each listener says itself how long it waits.
    if (typeUrl === typeUrls.extension || subscription.unanswered().length === 0) return;
    this.#waits.get(typeUrl)?.cancel();
    const wait = this.#options.clock.schedule(unansweredMs, () => {
      const removed = subscription.unanswered();
      if (removed.length === 0 || this.#isClosed) return;
      this.#options.log.warn("xds names without an answer", {
        type: typeLabel(typeUrl),
        names: removed.join(", "),
      });
      this.onUpdate({ typeUrl, resources: [], removed, respond: () => {} });
    });
    this.#waits.set(typeUrl, wait);
  }

  #tellStatus(): void {
    this.#options.onStatus?.(this.status);
  }
}

interface Delivery {
  readonly kind: "usable";
  readonly resources: readonly DeltaResource[];
  readonly removed: readonly string[];
  readonly unchanged?: readonly string[];
  readonly nonce: string;
  readonly version: string;
}

interface AnswerFields {
  readonly nonce: string;
  readonly version: string;
  readonly refusal?: string | undefined;
}

const requestOrder = [
  typeUrls.cluster,
  typeUrls.endpoint,
  typeUrls.listener,
  typeUrls.extension,
  typeUrls.route,
];

/** Clusters first: a server may answer in the order it was asked. */
function inOrder(
  subscriptions: ReadonlyMap<string, ClientSubscription>,
): readonly ClientSubscription[] {
  const rank = (typeUrl: string): number => {
    const index = requestOrder.findIndex((known) => known === typeUrl);
    return index < 0 ? requestOrder.length : index;
  };
  return [...subscriptions.values()].toSorted((a, b) => rank(a.typeUrl) - rank(b.typeUrl));
}

function unavailable(error: unknown): GrpcError {
  return new GrpcError(grpcStatus.unavailable, messageOf(error), { cause: error });
}
