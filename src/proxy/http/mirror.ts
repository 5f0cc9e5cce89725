/**
 * Copies of requests for another cluster: sent when the request is whole, their answers thrown away,
 * their failures nobody's. A request too large to keep is not copied.
 */
import type { BodyKind } from "../../wire/http1-head.ts";
import type { CompiledRoute, MirrorPlan } from "../engine/route-table.ts";
import { servingCluster } from "../serving-cluster.ts";
import type { HttpStream } from "./http-stream.ts";
import { tellSampling } from "./trace-propagation.ts";
import { copyOfRequest, type OutgoingRequest, type UpstreamTarget } from "./request-head-writer.ts";
import type { UpgradedExchange, UpstreamExchange, UpstreamUser } from "./upstream-exchange.ts";

/** What the copies need to know of the request's body. */
export interface MirrorSource {
  readonly target: Readonly<UpstreamTarget>;
  readonly bodyKind: BodyKind;
}

const noFields = { expectedMs: 0, count: 0, isUpgrade: false };

export function sendMirrors(
  stream: HttpStream,
  route: CompiledRoute | undefined,
  target: Readonly<UpstreamTarget>,
  bodyKind: BodyKind,
): void {
  if (route === undefined || route.mirrors.length === 0) return;
  const { body, services, request } = stream;
  if (!body.isWhole || stream.upgrade !== "") return;
  const source: MirrorSource = { target, bodyKind };
  for (const plan of route.mirrors) {
    const { cluster: name, clusterHeader, fraction } = plan;
    if (fraction < 1 && stream.random() >= fraction) continue;
    const named = clusterHeader === undefined ? name : (request.header(clusterHeader) ?? "");
    const choice = {
      connection: request.connection,
      hash: undefined,
      avoid: undefined,
      authority: authorityOf(plan, source),
    };
    const cluster = servingCluster(services.context.clusters.get(named), choice);
    const endpoint = cluster?.pick(choice);
    if (cluster === undefined || endpoint === undefined) continue;
    const isHttp2 = stream.connection.protocol === "HTTP/2";
    const pool = services.upstreams.poolOf(endpoint, cluster, isHttp2);
    pool.acquire(new Mirror(stream, source, plan), cluster);
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

/** The whole request; the authority says that it is a copy, as Envoy's does. */
class Mirror implements UpstreamUser {
  readonly isHeadRequest: boolean;
  readonly isUpgradeRequest = false;
  readonly #request: OutgoingRequest;
  readonly #target: UpstreamTarget;
  readonly #pieces: readonly Buffer[];
  readonly #bodyKind: BodyKind;

  constructor({ request, body, services }: HttpStream, source: MirrorSource, plan: MirrorPlan) {
    const { target, bodyKind } = source;
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

  onAttached(exchange: UpstreamExchange): void {
    exchange.sendHead(this.#request, this.#target, noFields, this.#bodyKind);
    for (const piece of this.#pieces) exchange.sendBody(piece, 0, piece.length);
    exchange.sendEnd(undefined);
    exchange.flush();
  }

  onPoolFailure(): void {}

  onInterim(): void {}

  onResponseHead(): void {}

  onUpgraded(upgraded: UpgradedExchange): void {
    upgraded.abandon();
  }

  onResponseData(): void {}

  onResponseEnd(): void {}

  onReleased(): void {}

  onResponseFlush(): void {}

  onUpstreamReset(): void {}

  onUpstreamDrain(): void {}
}
