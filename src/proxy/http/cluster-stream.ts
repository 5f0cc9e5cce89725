/**
 * A call of gRPC to a cluster that lasts as long as both sides like: messages of the proxy's own go out
 * one after another, what is answered is read and forgotten. Through the same endpoints, limits and
 * connections as requests. Who sends asks first whether there is room: nothing is kept here.
 */
import type { UpstreamCluster, UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import { servingCluster } from "../serving-cluster.ts";
import { type CallServices, noConnection } from "./cluster-call.ts";
import { grpcFields, grpcFrame, type GrpcTarget } from "./grpc-target.ts";
import { MessageHeaders } from "./message-headers.ts";
import { OwnAttempt } from "./own-attempt.ts";
import type {
  UpgradedExchange,
  UpstreamExchange,
  UpstreamPool,
  UpstreamUser,
} from "./upstream-exchange.ts";

export interface StreamOwner {
  /** There is room for a message: it has just been opened, or what was sent has left. */
  onRoom(): void;
  /** Once; perhaps before `open()` returns. Nothing can be sent any more. */
  onClosed(reason: string): void;
}

export class ClusterStream implements UpstreamUser {
  readonly isHeadRequest = false;
  readonly isUpgradeRequest = false;
  readonly #services: CallServices;
  readonly #target: GrpcTarget & { readonly path: string };
  readonly #owner: StreamOwner;
  #attempt: OwnAttempt | undefined;
  #sentMs = 0;
  #pool: UpstreamPool | undefined;
  #exchange: UpstreamExchange | undefined;
  #hasRoom = false;
  #isOver = false;
  #reason = "the collector has ended the call";

  constructor(
    services: CallServices,
    target: GrpcTarget & { readonly path: string },
    owner: StreamOwner,
  ) {
    this.#services = services;
    this.#target = target;
    this.#owner = owner;
  }

  open(): void {
    const { clusters, upstreams } = this.#services;
    const { cluster: name, authority } = this.#target;
    upstreams.wheel.touch();
    const cluster = clusters.get(name);
    if (cluster === undefined) return this.#fail(`there is no cluster ${name}`, undefined);
    const choice = { connection: noConnection, hash: undefined, avoid: undefined, authority };
    const serving = servingCluster(cluster, choice);
    const endpoint = serving?.pick(choice);
    if (serving === undefined || endpoint === undefined) {
      return this.#fail(`cluster ${name} has no healthy endpoint`, undefined);
    }
    this.#begin(serving, endpoint);
  }

  #begin(cluster: UpstreamCluster, endpoint: UpstreamEndpoint): void {
    this.#attempt = new OwnAttempt(endpoint, "application/grpc");
    this.#pool = this.#services.upstreams.poolOf(endpoint, cluster, true);
    this.#pool.acquire(this, cluster, false);
  }

  get canSend(): boolean {
    return this.#hasRoom && !this.#isOver;
  }

  /** Only while `canSend`; the bytes are copied or gone when it returns. */
  send(message: Uint8Array): void {
    const exchange = this.#exchange;
    if (exchange === undefined) return;
    const frame = grpcFrame(message);
    exchange.sendBody(frame, 0, frame.length);
    this.#hasRoom = exchange.flush();
  }

  /** Nothing more will be sent; the owner is told nothing any more. */
  close(): void {
    if (this.#isOver) return;
    const exchange = this.#exchange;
    this.#isOver = true;
    this.#attempt?.leave(undefined);
    if (exchange === undefined) this.#pool?.cancel(this);
    else exchange.abandon();
    this.#exchange = undefined;
  }

  onAttached(exchange: UpstreamExchange): void {
    this.#exchange = exchange;
    this.#sentMs = this.#services.upstreams.wheel.nowMs;
    const { authority, path } = this.#target;
    const headers = new MessageHeaders();
    for (const [name, value] of grpcFields(this.#target)) headers.add(name, value);
    const fields = { expectedMs: 0, count: 0, isUpgrade: false };
    exchange.sendHead(
      { method: "POST", scheme: "http", headers },
      { authority, path },
      fields,
      "chunked",
    );
    this.#hasRoom = exchange.flush();
    if (this.#hasRoom) this.#owner.onRoom();
  }

  onPoolFailure(failure: string): void {
    this.#fail(failure, failure === "overflow" ? undefined : { kind: "connect-failure" });
  }

  onInterim(): void {}

  onResponseHead({ head }: UpstreamExchange): void {
    this.#attempt?.onHead(head, this.#services.upstreams.wheel.nowMs - this.#sentMs);
    if (head.status !== 200) this.#reason = `the answer is ${head.status}`;
  }

  onResponseData(): void {}

  onResponseEnd(): void {
    const trailers = this.#exchange?.answerTrailers;
    const status = trailers?.joined("grpc-status");
    this.#exchange = undefined;
    this.#attempt?.onEnd(trailers);
    const reason = status === undefined ? this.#reason : `${this.#reason}: status ${status}`;
    this.#fail(reason, undefined);
  }

  onReleased(): void {}

  onResponseFlush(): void {}

  onUpgraded(upgraded: UpgradedExchange): void {
    upgraded.abandon();
    this.#exchange = undefined;
    this.#fail("the answer is an upgrade", { kind: "reset" });
  }

  onUpstreamReset(): void {
    this.#exchange = undefined;
    this.#fail("the connection broke", { kind: "reset" });
  }

  onUpstreamDrain(): void {
    if (this.#isOver) return;
    this.#hasRoom = true;
    this.#owner.onRoom();
  }

  #fail(reason: string, outcome: UpstreamOutcome | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#hasRoom = false;
    this.#attempt?.leave(outcome);
    this.#owner.onClosed(reason);
  }
}
