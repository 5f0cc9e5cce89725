import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { GrpcServerStream, GrpcStreamHandler } from "../../net/grpc-server.ts";
import { GrpcError } from "../../net/grpc.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { Node } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  DeltaDiscoveryRequest,
  DiscoveryRequest,
} from "../../wire/gen/ts/envoy/service/discovery/v3/discovery.ts";
import { grpcStatus } from "../../wire/grpc.ts";
import type { ProxyAnswer } from "../ads-server.ts";
import type { Snapshot } from "../snapshot.ts";
import { type Outgoing, StreamPublisher, type XdsVariant } from "./publisher.ts";
import type { Answer } from "./subscription.ts";

export interface ConnectionOptions {
  readonly stream: GrpcServerStream;
  readonly variant: XdsVariant;
  readonly clock: Clock;
  readonly log: Logger;
  readonly warmingTimeoutMs: number;
  /** Throws `GrpcError` when the stream is nobody's. */
  readonly identify: (node: Node | undefined) => string;
  readonly onIdentified: (node: Node) => void;
  readonly onWish: (typeUrl: string) => void;
  readonly onSent: (outgoing: Outgoing) => void;
  readonly onAnswer: (answer: ProxyAnswer) => void;
  readonly onClose: (reason: string | undefined) => void;
}

/** Names one client may ask for of one type, and types it may ask for: far above any real proxy. */
const namesMax = 100_000;
const typesMax = 32;

/** One discovery stream: reads requests, hands them to its publisher, writes what that decides. */
export class ServerConnection implements GrpcStreamHandler {
  readonly sinceMs: number;
  readonly #options: ConnectionOptions;
  readonly #publisher: StreamPublisher;
  #proxyId: string | undefined;
  #warmingTimer: Timer | undefined;
  #versions = new Map<string, string>();
  #isClosed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#publisher = new StreamPublisher(options.variant, options.warmingTimeoutMs);
    this.sinceMs = options.clock.nowMs();
    // A caller without any credentials is refused before it says anything.
    options.identify(undefined);
  }

  /** Empty before the first request. */
  get proxyId(): string {
    return this.#proxyId ?? "";
  }

  get peer(): string {
    return this.#options.stream.peer;
  }

  get variant(): XdsVariant {
    return this.#publisher.variant;
  }

  get typeUrls(): readonly string[] {
    return [...this.#publisher.typeUrls];
  }

  get isSettled(): boolean {
    return this.typeUrls.every((typeUrl) => this.#publisher.isSettled(typeUrl));
  }

  isTypeSettled(typeUrl: string): boolean {
    return this.#publisher.isSettled(typeUrl);
  }

  isAnswered(typeUrl: string, name: string): boolean {
    return this.#publisher.isAnswered(typeUrl, name);
  }

  wish(typeUrl: string): "*" | ReadonlySet<string> {
    return this.#publisher.wish(typeUrl);
  }

  setSnapshot(snapshot: Snapshot): void {
    this.#publisher.setSnapshot(snapshot);
    this.#publish();
  }

  end(error: GrpcError): void {
    this.#options.stream.finish(error);
  }

  onMessage(message: Uint8Array): void {
    if (this.#options.variant === "delta") this.#onDelta(decode(DeltaDiscoveryRequest, message));
    else this.#onSotw(decode(DiscoveryRequest, message));
  }

  onClose(reason: string | undefined): void {
    this.#isClosed = true;
    this.#warmingTimer?.cancel();
    this.#options.onClose(reason);
  }

  #onDelta(request: DeltaDiscoveryRequest): void {
    const { typeUrl } = request;
    this.#admit(request.node, typeUrl);
    limitNames(request.resourceNamesSubscribe.length + this.#wishSize(typeUrl));
    const answer = this.#publisher.receiveDelta(typeUrl, request);
    const hasWish =
      request.resourceNamesSubscribe.length + request.resourceNamesUnsubscribe.length > 0;
    this.#after(typeUrl, answer, hasWish || request.responseNonce === "");
  }

  #onSotw(request: DiscoveryRequest): void {
    const { typeUrl } = request;
    this.#admit(request.node, typeUrl);
    limitNames(request.resourceNames.length);
    const answer = this.#publisher.receiveSotw(typeUrl, request);
    this.#after(typeUrl, answer, true);
  }

  #after(typeUrl: string, answer: Answer | undefined, wishMayDiffer: boolean): void {
    if (answer !== undefined) this.#onAnswer(typeUrl, answer);
    if (wishMayDiffer) this.#options.onWish(typeUrl);
    this.#publish();
  }

  #onAnswer(typeUrl: string, answer: Answer): void {
    const version = this.#versions.get(typeUrl) ?? "";
    if (answer.kind === "acked") {
      const { resources } = answer.change;
      this.#options.onAnswer({ kind: "acked", typeUrl, version, resources });
      return;
    }
    const { reason, resources } = answer;
    const proxy = this.proxyId;
    this.#options.log.warn("proxy refused configuration", { proxy, typeUrl, reason });
    this.#options.onAnswer({ kind: "refused", typeUrl, version, resources, reason });
  }

  #admit(node: Node | undefined, typeUrl: string): void {
    if (typeUrl === "") throw new GrpcError(grpcStatus.invalidArgument, "a request without a type");
    if (this.typeUrls.length >= typesMax && !this.typeUrls.includes(typeUrl)) {
      throw new GrpcError(grpcStatus.resourceExhausted, `more than ${typesMax} types on a stream`);
    }
    if (this.#proxyId !== undefined) return;
    if (node === undefined) {
      throw new GrpcError(grpcStatus.invalidArgument, "the first request names no node");
    }
    this.#proxyId = this.#options.identify(node);
    this.#options.onIdentified(Node.fromPartial(node));
  }

  #wishSize(typeUrl: string): number {
    const wish = this.wish(typeUrl);
    return wish === "*" ? 0 : wish.size;
  }

  #publish(): void {
    if (this.#isClosed) return;
    const { stream, clock } = this.#options;
    for (const outgoing of this.#publisher.poll(clock.monotonicMs())) {
      this.#versions.set(outgoing.typeUrl, outgoing.version);
      if (!stream.write([outgoing.message])) return;
      this.#options.onSent(outgoing);
    }
    this.#warmingTimer?.cancel();
    this.#warmingTimer = undefined;
    const { deadlineMs } = this.#publisher;
    if (deadlineMs === undefined) return;
    const delayMs = Math.max(1, deadlineMs - clock.monotonicMs());
    this.#warmingTimer = clock.schedule(delayMs, () => this.#publish());
  }
}

function limitNames(names: number): void {
  if (names <= namesMax) return;
  throw new GrpcError(grpcStatus.resourceExhausted, `more than ${namesMax} names of one type`);
}

function decode<Request>(
  codec: { decode(bytes: Uint8Array): Request },
  message: Uint8Array,
): Request {
  try {
    return codec.decode(message);
  } catch (error) {
    throw new GrpcError(grpcStatus.invalidArgument, `cannot decode request: ${messageOf(error)}`);
  }
}
