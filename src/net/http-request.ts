/**
 * One HTTP request as a client, for what is not the data path: scraping, an external Prometheus, a
 * proxy's admin socket. Bounded in time and size; follows no redirect and keeps no cookie.
 */
import type { RequestOptions } from "node:http";
import { type Duplex, PassThrough } from "node:stream";

import { HeddleError } from "../base/error.ts";
import type { GrpcAddress } from "./grpc.ts";
import { nodeHttp, nodeHttps } from "./node-http.ts";

export interface HttpRequest {
  /** `http:` or `https:`; only the path counts when `socketPath` is given. */
  readonly url: string;
  readonly method?: "GET" | "POST";
  /** A Unix socket to ask instead of the address in the URL. */
  readonly socketPath?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
  /** Makes the connection instead of Node, for `http:` URLs: a sidecar's sockets carry a mark. */
  readonly dial?: (target: GrpcAddress, signal: AbortSignal) => Promise<Duplex>;
  /** From start to the last byte. */
  readonly timeoutMs: number;
  readonly responseBytesMax: number;
}

export interface HttpResponse {
  readonly status: number;
  readonly contentType: string;
  /** Decoded as UTF-8. */
  readonly text: string;
}

/** Asks once; throws `net.http-failed` when no whole answer came. Any status is an answer. */
export type RequestHttp = (request: HttpRequest) => Promise<HttpResponse>;

export const requestHttp: RequestHttp = (request) =>
  new Promise((resolve, reject) => {
    const fail = (reason: string, cause?: unknown): void => {
      clearTimeout(timer);
      outgoing.destroy();
      const to = request.socketPath ?? request.url;
      reject(new HeddleError("net.http-failed", `asking ${to}: ${reason}`, { cause }));
    };
    const url = new URL(request.url);
    const send = url.protocol === "https:" ? nodeHttps().request : nodeHttp.request;
    const outgoing = send(url, {
      method: request.method ?? "GET",
      agent: false,
      ...(request.socketPath === undefined ? {} : { socketPath: request.socketPath }),
      headers: { connection: "close", ...request.headers },
      ...connectionOf(request, url),
    });
    const timer = setTimeout(() => fail(`no answer in ${request.timeoutMs} ms`), request.timeoutMs);
    outgoing.on("error", (error) => fail(error.message, error));
    outgoing.on("response", (incoming) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      incoming.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > request.responseBytesMax) {
          fail(`the answer is longer than ${request.responseBytesMax} bytes`);
        } else chunks.push(chunk);
      });
      incoming.on("error", (error) => fail(error.message, error));
      incoming.on("end", () => {
        clearTimeout(timer);
        resolve({
          status: incoming.statusCode ?? 0,
          contentType: incoming.headers["content-type"] ?? "",
          text: Buffer.concat(chunks).toString("utf8"),
        });
      });
    });
    outgoing.end(request.body);
  });

/** Node's `createConnection` calls back, so the promise of `dial` ends in its callback. */
function connectionOf({ dial, timeoutMs }: HttpRequest, url: URL): RequestOptions {
  if (dial === undefined) return {};
  const target = { address: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port || 80) };
  return {
    createConnection: (_options, done) => {
      dial(target, AbortSignal.timeout(timeoutMs)).then(
        (socket) => done(null, socket),
        (error: Error) => done(error, new PassThrough()),
      );
      return undefined;
    },
  };
}
