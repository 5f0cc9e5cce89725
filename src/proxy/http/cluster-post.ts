/**
 * Posts a body to a path of a cluster, for what the proxy itself has to say (spans): through the
 * same endpoints, limits and connections as requests, but not through filters and without a record.
 */
import type { Clock } from "../../base/clock.ts";
import { Http1Writer } from "../../wire/http1-writer.ts";
import type { ClusterSource } from "../context.ts";
import type { ConnectionView } from "../engine/request.ts";
import type { UpstreamConnection, UpstreamUser } from "./upstream-connection.ts";
import type { Upstreams } from "./upstream-pool.ts";

export interface PostTarget {
  readonly cluster: string;
  readonly authority: string;
  readonly path: string;
  readonly contentType: string;
  readonly timeoutMs: number;
}

/** `reason` is undefined when the answer was 2xx. */
export type PostDone = (reason: string | undefined) => void;

export interface PostServices {
  readonly clusters: ClusterSource;
  readonly upstreams: Upstreams;
  readonly clock: Clock;
}

/** Never throws; `done` is called once. */
export function postToCluster(
  services: PostServices,
  target: PostTarget,
  body: Uint8Array,
  done: PostDone,
): void {
  const cluster = services.clusters.get(target.cluster);
  const endpoint = cluster?.pick({ connection: noConnection, hash: undefined, avoid: undefined });
  if (cluster === undefined) return done(`there is no cluster ${target.cluster}`);
  if (endpoint === undefined) return done(`cluster ${target.cluster} has no healthy endpoint`);
  cluster.counters.onRequest();
  const pool = services.upstreams.poolOf(endpoint);
  const post = new Post(compose(target, body), done);
  post.timer = services.clock.schedule(target.timeoutMs, () => {
    pool.cancel(post);
    post.fail(`no answer in ${target.timeoutMs} ms`);
  });
  pool.acquire(post, cluster);
}

/** Nobody's connection: what is posted comes from the proxy. */
const noConnection: ConnectionView = {
  sourceAddress: "127.0.0.1",
  sourcePort: 0,
  destinationAddress: "127.0.0.1",
  destinationPort: 0,
  sni: undefined,
  alpn: undefined,
  isTls: false,
  peerUriSans: [],
};

function compose({ authority, path, contentType }: PostTarget, body: Uint8Array): Buffer {
  const writer = new Http1Writer();
  const head =
    `POST ${path} HTTP/1.1\r\nhost: ${authority}\r\ncontent-type: ${contentType}\r\n` +
    `content-length: ${body.length}\r\n\r\n`;
  const bytes = Buffer.concat([Buffer.from(head, "latin1"), body]);
  writer.bytes(bytes, 0, bytes.length);
  return writer.take();
}

class Post implements UpstreamUser {
  readonly isHeadRequest = false;
  readonly isUpgradeRequest = false;
  timer: { cancel(): void } | undefined = undefined;
  readonly #bytes: Buffer;
  readonly #done: PostDone;
  #connection: UpstreamConnection | undefined;
  #status = 0;
  #isDone = false;

  constructor(bytes: Buffer, done: PostDone) {
    this.#bytes = bytes;
    this.#done = done;
  }

  onAttached(connection: UpstreamConnection): void {
    this.#connection = connection;
    connection.channel?.write(this.#bytes);
    connection.isRequestSent = true;
  }

  onPoolFailure(failure: string): void {
    this.fail(failure);
  }

  onInterim(): void {}

  onResponseHead(connection: UpstreamConnection): void {
    this.#status = connection.head.status;
  }

  onUpgraded(connection: UpstreamConnection): void {
    connection.abandon();
    this.fail("the answer is an upgrade");
  }

  onResponseData(): void {}

  onResponseEnd(): void {
    this.#connection = undefined;
    const isAccepted = this.#status >= 200 && this.#status < 300;
    this.#finish(isAccepted ? undefined : `the answer is ${this.#status}`);
  }

  onReleased(): void {}

  onResponseFlush(): void {}

  onUpstreamReset(): void {
    this.#connection = undefined;
    this.fail("the connection broke");
  }

  onUpstreamDrain(): void {}

  fail(reason: string): void {
    this.#connection?.abandon();
    this.#connection = undefined;
    this.#finish(reason);
  }

  #finish(reason: string | undefined): void {
    if (this.#isDone) return;
    this.#isDone = true;
    this.timer?.cancel();
    this.#done(reason);
  }
}
