/**
 * Copies of requests for another cluster: sent when the request is whole, their answers thrown away,
 * their failures nobody's. A request too large to keep is not copied.
 */
import { Http1Writer } from "../../wire/http1-writer.ts";
import type { CompiledRoute, MirrorPlan } from "../engine/route-table.ts";
import type { HttpStream } from "./http-stream.ts";
import { type UpstreamTarget, writeRequestHead } from "./request-head-writer.ts";
import type { UpstreamConnection, UpstreamUser } from "./upstream-connection.ts";

/** What the copies need to know of the request's body. */
export interface MirrorSource {
  readonly target: Readonly<UpstreamTarget>;
  readonly isChunked: boolean;
}

export function sendMirrors(stream: HttpStream, route: CompiledRoute, source: MirrorSource): void {
  const { body, services, request } = stream;
  if (!body.isWhole) return;
  for (const plan of route.mirrors) {
    const { cluster: name, fraction } = plan;
    if (fraction < 1 && stream.random() >= fraction) continue;
    const cluster = services.context.clusters.get(name);
    const endpoint = cluster?.pick({
      connection: request.connection,
      hash: undefined,
      avoid: undefined,
    });
    if (cluster === undefined || endpoint === undefined) continue;
    cluster.counters.onRequest();
    const copy = new Mirror(composeCopy(stream, source, plan), request.method === "HEAD");
    services.upstreams.poolOf(endpoint).acquire(copy, cluster);
  }
}

/** The whole request; the authority says that it is a copy, as Envoy's does. */
function composeCopy(stream: HttpStream, source: MirrorSource, plan: MirrorPlan): Buffer {
  const writer = new Http1Writer();
  const host = plan.host === "" ? source.target.authority : plan.host;
  const authority = plan.marksHost ? shadowAuthority(host) : host;
  const target = { ...source.target, authority };
  writeRequestHead(writer, stream.request, target, {
    expectedMs: 0,
    count: 0,
    isUpgrade: false,
  });
  for (const piece of stream.body.pieces) {
    if (source.isChunked) writer.chunk(piece, 0, piece.length);
    else writer.bytes(piece, 0, piece.length);
  }
  if (source.isChunked) writer.lastChunk(undefined);
  return writer.take();
}

function shadowAuthority(authority: string): string {
  const port = /:\d+$/.exec(authority)?.[0] ?? "";
  return `${authority.slice(0, authority.length - port.length)}-shadow${port}`;
}

class Mirror implements UpstreamUser {
  readonly isHeadRequest: boolean;
  readonly isUpgradeRequest = false;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer, isHeadRequest: boolean) {
    this.#bytes = bytes;
    this.isHeadRequest = isHeadRequest;
  }

  onAttached(connection: UpstreamConnection): void {
    connection.channel?.write(this.#bytes);
    connection.isRequestSent = true;
  }

  onPoolFailure(): void {}

  onInterim(): void {}

  onResponseHead(): void {}

  onUpgraded(connection: UpstreamConnection): void {
    connection.abandon();
  }

  onResponseData(): void {}

  onResponseEnd(): void {}

  onReleased(): void {}

  onResponseFlush(): void {}

  onUpstreamReset(): void {}

  onUpstreamDrain(): void {}
}
