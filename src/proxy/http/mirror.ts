/**
 * Copies of requests for another cluster: sent when the request is whole, their answers thrown away,
 * their failures the cluster's series alone. A request too large to keep is not copied.
 */
import type { BodyKind } from "../../wire/http1-head.ts";
import type { CompiledRoute, MirrorPlan } from "../engine/route-table.ts";
import type { UpstreamCluster, UpstreamOutcome } from "../context.ts";
import { servingCluster } from "../serving-cluster.ts";
import { Deadline, type DeadlineOwner, type DeadlineWheel } from "./deadline-wheel.ts";
import { type FailureKind, failureMeanings } from "./failure.ts";
import type { HttpStream } from "./http-stream.ts";
import { OwnAttempt } from "./own-attempt.ts";
import { tellSampling } from "./trace-propagation.ts";
import { copyOfRequest, type OutgoingRequest, type UpstreamTarget } from "./request-head-writer.ts";
import type {
  PoolFailure,
  UpgradedExchange,
  UpstreamExchange,
  UpstreamPool,
  UpstreamReset,
  UpstreamUser,
} from "./upstream-exchange.ts";
import { isFinal, poolFailures, resetFailures } from "./upstream-failure.ts";

/** What the copies need to know of the request. */
export interface MirrorSource {
  readonly target: Readonly<UpstreamTarget>;
  readonly bodyKind: BodyKind;
  /** As of the request: its answer is waited for so long; 0 is for ever. */
  readonly forMs: number;
}

const noFields = { expectedMs: 0, count: 0, isUpgrade: false };

export function sendMirrors(stream: HttpStream, route: CompiledRoute, source: MirrorSource): void {
  const { body, services, request } = stream;
  if (!body.isWhole || stream.upgrade !== "") return;
  for (const plan of route.mirrors) {
    const { cluster: name, clusterHeader, fraction } = plan;
    if (fraction < 1 && stream.random() >= fraction) continue;
    const named = clusterHeader === undefined ? name : (request.header(clusterHeader) ?? "");
    const asked = services.context.clusters.get(named);
    if (asked === undefined) continue;
    const choice = {
      connection: request.connection,
      hash: undefined,
      avoid: undefined,
      authority: authorityOf(plan, source),
    };
    const cluster = servingCluster(asked, choice);
    const endpoint = cluster?.pick(choice);
    if (cluster === undefined || endpoint === undefined) {
      asked.counters.onUntimedResponse(failureMeanings["no-healthy-endpoint"].status);
      continue;
    }
    const isHttp2 = stream.connection.protocol === "HTTP/2";
    const pool = services.upstreams.poolOf(endpoint, cluster, isHttp2);
    const attempt = new OwnAttempt(endpoint, request.header("content-type"));
    new Mirror(stream, source, plan).start({ pool, cluster, asked, attempt });
  }
}

/** As the copy's server is asked for, and believed, where names come from requests. */
function authorityOf(plan: MirrorPlan, { target }: MirrorSource): string {
  const host = plan.host === "" ? target.authority : plan.host;
  return plan.marksHost ? shadowAuthority(host) : host;
}

function shadowAuthority(authority: string): string {
  const port = /:\d+$/.exec(authority)?.[0] ?? "";
  return `${authority.slice(0, authority.length - port.length)}-shadow${port}`;
}

/** Where a copy goes. */
interface MirrorWay {
  readonly pool: UpstreamPool;
  readonly cluster: UpstreamCluster;
  /** The cluster that the route names, which counts answers. */
  readonly asked: UpstreamCluster;
  readonly attempt: OwnAttempt;
}

/** The whole request; the authority says that it is a copy, as Envoy's does. */
class Mirror implements UpstreamUser, DeadlineOwner {
  readonly isHeadRequest: boolean;
  readonly isUpgradeRequest = false;
  readonly #request: OutgoingRequest;
  readonly #target: UpstreamTarget;
  readonly #pieces: readonly Buffer[];
  readonly #bodyKind: BodyKind;
  readonly #wheel: DeadlineWheel;
  readonly #timeoutMs: number;
  readonly #deadline: Deadline = new Deadline(this);
  #way: MirrorWay | undefined;
  #exchange: UpstreamExchange | undefined;
  #sentMs = 0;

  constructor({ request, body, services }: HttpStream, source: MirrorSource, plan: MirrorPlan) {
    const { target, bodyKind, forMs } = source;
    this.#wheel = services.upstreams.wheel;
    this.#timeoutMs = forMs;
    const authority = authorityOf(plan, source);
    this.isHeadRequest = request.method === "HEAD";
    this.#request = copyOfRequest(request);
    plan.edit?.(this.#request.headers, request);
    const { tracing } = services.settings;
    const isTold = tracing !== undefined && tracing.isSilent !== true;
    if (isTold && plan.isSampled !== undefined) {
      tellSampling(this.#request.headers, plan.isSampled);
    }
    this.#target = { path: target.path, authority };
    this.#pieces = [...body.pieces];
    this.#bodyKind = bodyKind;
  }

  start(way: MirrorWay): void {
    this.#way = way;
    if (this.#timeoutMs > 0) this.#wheel.arm(this.#deadline, this.#timeoutMs);
    way.pool.acquire(this, way.cluster);
  }

  onAttached(exchange: UpstreamExchange): void {
    this.#exchange = exchange;
    this.#sentMs = this.#wheel.nowMs;
    exchange.sendHead(this.#request, this.#target, noFields, this.#bodyKind);
    for (const piece of this.#pieces) exchange.sendBody(piece, 0, piece.length);
    exchange.sendEnd(undefined);
    exchange.flush();
  }

  onPoolFailure(failure: PoolFailure): void {
    this.#fail(poolFailures[failure], isFinal(failure) ? undefined : { kind: "connect-failure" });
  }

  onInterim(): void {}

  onResponseHead({ head }: UpstreamExchange): void {
    this.#way?.attempt.onHead(head, this.#wheel.nowMs - this.#sentMs);
  }

  onUpgraded(upgraded: UpgradedExchange): void {
    upgraded.abandon();
    this.#fail("upstream-protocol", { kind: "reset" });
  }

  onResponseData(): void {}

  onResponseEnd(): void {
    const exchange = this.#exchange;
    const way = this.#way;
    if (exchange === undefined || way === undefined) return;
    way.asked.counters.onResponse(exchange.head.status, this.#wheel.nowMs - this.#sentMs);
    way.attempt.onEnd(exchange.answerTrailers);
    this.#leave(undefined);
  }

  onReleased(): void {}

  onResponseFlush(): void {}

  onUpstreamReset(kind: UpstreamReset): void {
    this.#fail(resetFailures[kind], { kind: "reset" });
  }

  onUpstreamDrain(): void {}

  onDeadline(): void {
    const way = this.#way;
    if (way === undefined) return;
    const exchange = this.#exchange;
    way.asked.counters.onTimeout(1);
    this.#fail("response-timeout", { kind: "timeout" });
    if (exchange === undefined) way.pool.cancel(this);
    else exchange.abandon();
  }

  #fail(failure: FailureKind, outcome: UpstreamOutcome | undefined): void {
    this.#way?.asked.counters.onUntimedResponse(failureMeanings[failure].status);
    this.#leave(outcome);
  }

  #leave(outcome: UpstreamOutcome | undefined): void {
    this.#wheel.release(this.#deadline);
    this.#way?.attempt.leave(outcome);
    this.#way = undefined;
    this.#exchange = undefined;
  }
}
