/**
 * Asks a cluster something on the proxy's own behalf (keys, an authorization, spans to keep): through
 * the same endpoints, limits, connections and outlier detection as requests, but not through filters
 * and without a record. One request, one whole answer, bounded in time and size.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import type { ClusterSource, UpstreamCluster, UpstreamOutcome } from "../context.ts";
import type { ConnectionView } from "../engine/request.ts";
import { servingCluster } from "../serving-cluster.ts";
import { Deadline, type DeadlineOwner } from "./deadline-wheel.ts";
import { MessageHeaders } from "./message-headers.ts";
import { OwnAttempt } from "./own-attempt.ts";
import type {
  UpgradedExchange,
  UpstreamExchange,
  UpstreamPool,
  UpstreamReset,
  UpstreamUser,
} from "./upstream-exchange.ts";
import type { Upstreams } from "./upstreams.ts";

export interface CallServices {
  readonly clusters: ClusterSource;
  readonly upstreams: Upstreams;
}

/** Header names in lower case; `host` and `content-length` are the call's own business. */
export interface CallRequest {
  readonly cluster: string;
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  /** Undefined: the request has none, and does not say how long it is. */
  readonly body: Uint8Array | undefined;
  readonly timeoutMs: number;
  /** A longer answer is a failure, unless `takesPart`. */
  readonly answerBytesMax: number;
  /** What has come of an answer is an answer, too, where its head is there: `ending` says of which kind. */
  readonly takesPart?: boolean;
}

/** `too-long`: the body is the first `answerBytesMax` bytes. `broken`: the rest did not come, or not in time. */
export type AnswerEnding = "whole" | "too-long" | "broken";

/** Valid while `onAnswer` runs: the connection reads its next answer into the same memory. */
export interface CallAnswer {
  readonly status: number;
  readonly head: Http1Head;
  readonly trailers: Http1Head | undefined;
  readonly body: Buffer;
  readonly ending: AnswerEnding;
  /** From the question's last byte to the answer's. */
  readonly durationMs: number;
}

/** One of them is called, once; perhaps before `callCluster()` returns. */
export interface Caller {
  onAnswer(answer: CallAnswer): void;
  onFailure(reason: string, kind: CallFailure): void;
}

/** `unasked`: there was nobody to ask, or no room for the question. */
export type CallFailure = "unasked" | "connect-failure" | "reset" | "timeout";

export interface RunningCall {
  /** Nobody is told anything any more. */
  cancel(): void;
}

/** Never throws. The wheel's clock was read in this turn. */
export function callCluster(
  services: CallServices,
  request: CallRequest,
  caller: Caller,
): RunningCall {
  const call = new ClusterCall(services, request, caller);
  call.start();
  return call;
}

/** Nobody's connection: what is asked comes from the proxy. */
export const noConnection: ConnectionView = {
  sourceAddress: "127.0.0.1",
  sourcePort: 0,
  destinationAddress: "127.0.0.1",
  destinationPort: 0,
  sni: undefined,
  alpn: undefined,
  isTls: false,
  peerUriSans: [],
};

class ClusterCall implements UpstreamUser, DeadlineOwner, RunningCall {
  readonly isHeadRequest: boolean;
  readonly isUpgradeRequest = false;
  readonly #services: CallServices;
  readonly #request: CallRequest;
  readonly #caller: Caller;
  readonly #deadline: Deadline = new Deadline(this);
  readonly #pieces: Buffer[] = [];
  #bytes = 0;
  #cluster: UpstreamCluster | undefined;
  #attempt: OwnAttempt | undefined;
  #pool: UpstreamPool | undefined;
  #exchange: UpstreamExchange | undefined;
  /** The one whose answer has begun. */
  #begun: UpstreamExchange | undefined;
  #isFresh = false;
  #isOver = false;
  #sentMs = 0;

  constructor(services: CallServices, request: CallRequest, caller: Caller) {
    this.#services = services;
    this.#request = request;
    this.#caller = caller;
    this.isHeadRequest = request.method === "HEAD";
  }

  start(): void {
    const { clusters, upstreams } = this.#services;
    const { cluster: name, timeoutMs } = this.#request;
    const cluster = clusters.get(name);
    if (cluster === undefined) return this.#fail(`there is no cluster ${name}`, undefined);
    this.#cluster = cluster;
    upstreams.wheel.arm(this.#deadline, timeoutMs);
    this.#try(cluster);
  }

  #try(cluster: UpstreamCluster): void {
    const { authority } = this.#request;
    const choice = { connection: noConnection, hash: undefined, avoid: undefined, authority };
    const serving = servingCluster(cluster, choice);
    const endpoint = serving?.pick(choice);
    if (serving === undefined || endpoint === undefined) {
      return this.#fail(`cluster ${cluster.name} has no healthy endpoint`, undefined);
    }
    const type = this.#request.headers.find(([name]) => name === "content-type");
    this.#attempt = new OwnAttempt(endpoint, type?.[1]);
    this.#pool = this.#services.upstreams.poolOf(endpoint, serving, false);
    this.#pool.acquire(this, serving, this.#isFresh);
  }

  onAttached(exchange: UpstreamExchange): void {
    this.#exchange = exchange;
    this.#sentMs = this.#services.upstreams.wheel.nowMs;
    const { method, authority, path, body } = this.#request;
    const headers = headersOf(this.#request);
    const request = { method, scheme: "http", headers };
    exchange.sendHead(
      request,
      { authority, path },
      noFields,
      body === undefined ? "none" : "length",
    );
    if (body !== undefined) {
      const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
      exchange.sendBody(bytes, 0, bytes.length);
    }
    exchange.sendEnd(undefined);
    exchange.flush();
  }

  onPoolFailure(failure: string): void {
    const isOverflow = failure === "overflow";
    this.#fail(failure, isOverflow ? undefined : { kind: "connect-failure" });
  }

  onInterim(): void {}

  onResponseHead(exchange: UpstreamExchange): void {
    this.#begun = exchange;
    const { wheel } = this.#services.upstreams;
    this.#attempt?.onHead(exchange.head, wheel.nowMs - this.#sentMs);
  }

  onUpgraded(upgraded: UpgradedExchange): void {
    upgraded.abandon();
    this.#exchange = undefined;
    this.#fail("the answer is an upgrade", { kind: "reset" });
  }

  onResponseData(chunk: Buffer, from: number, to: number): void {
    const { answerBytesMax } = this.#request;
    const room = answerBytesMax - this.#bytes;
    this.#bytes += to - from;
    this.#pieces.push(Buffer.from(chunk.subarray(from, Math.min(to, from + room))));
    if (this.#bytes <= answerBytesMax) return;
    this.#fail(`the answer has more than ${answerBytesMax} bytes`, { kind: "reset" }, "too-long");
  }

  onResponseEnd(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange === undefined || this.#isOver) return;
    this.#answer(exchange, "whole");
  }

  #answer({ head, answerTrailers: trailers }: UpstreamExchange, ending: AnswerEnding): void {
    const { status } = head;
    const durationMs = this.#services.upstreams.wheel.nowMs - this.#sentMs;
    if (ending !== "broken") {
      this.#cluster?.counters.onResponse(status, durationMs);
      this.#attempt?.onEnd(trailers);
      this.#end(undefined);
    }
    const body = Buffer.concat(this.#pieces);
    this.#caller.onAnswer({ status, head, trailers, body, ending, durationMs });
  }

  onReleased(): void {}

  onResponseFlush(): void {}

  /** What is asked changes nothing there, so it can be asked again where a pool was too late. */
  onUpstreamReset(kind: UpstreamReset): void {
    const exchange = this.#exchange;
    const cluster = this.#cluster;
    this.#exchange = undefined;
    const isLost = exchange?.isReused === true && !exchange.hasAnswered;
    if (kind !== "termination" || !isLost || this.#isFresh || cluster === undefined) {
      return this.#fail("the connection broke", { kind: "reset" });
    }
    this.#isFresh = true;
    this.#attempt?.leave({ kind: "reset" });
    this.#try(cluster);
  }

  onUpstreamDrain(): void {}

  onDeadline(): void {
    this.#cluster?.counters.onTimeout(1);
    this.#fail(`no answer in ${this.#request.timeoutMs} ms`, { kind: "timeout" });
  }

  cancel(): void {
    this.#end(undefined);
  }

  #fail(
    reason: string,
    outcome: UpstreamOutcome | undefined,
    ending: Exclude<AnswerEnding, "whole"> = "broken",
  ): void {
    if (this.#isOver) return;
    const begun = this.#request.takesPart === true ? this.#begun : undefined;
    // An endpoint that has said more than is taken has answered.
    if (begun === undefined || ending === "broken") this.#end(outcome);
    if (begun === undefined) this.#caller.onFailure(reason, kindOf(outcome));
    else this.#answer(begun, ending);
  }

  #end(outcome: UpstreamOutcome | undefined): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#services.upstreams.wheel.release(this.#deadline);
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange === undefined) this.#pool?.cancel(this);
    else exchange.abandon();
    this.#attempt?.leave(outcome);
  }
}

function kindOf(outcome: UpstreamOutcome | undefined): CallFailure {
  return outcome === undefined || outcome.kind === "response" ? "unasked" : outcome.kind;
}

const noFields = { expectedMs: 0, count: 0, isUpgrade: false };

function headersOf({ headers: fields, body }: CallRequest): MessageHeaders {
  const headers = new MessageHeaders();
  for (const [name, value] of fields) headers.add(name, value);
  if (body !== undefined) headers.add("content-length", String(body.length));
  return headers;
}
