/**
 * The admin interface of a sidecar: Envoy's paths, answered by the data plane, served here on a Unix
 * socket for the mesh and, without what changes anything, on loopback. The application shares that
 * loopback, and a workload holds no power over its sidecar.
 */
import type { IncomingMessage, ServerResponse } from "node:http";

import { messageOf } from "../base/error.ts";
import { listenHttp, type HttpListener, type HttpListenTarget } from "../net/http-listener.ts";
import type { Logger } from "../telemetry/logger.ts";
import { PieceSender } from "./io/piece-sender.ts";

export interface AdminRequest {
  readonly method: string;
  /** Without the query: `/config_dump`. */
  readonly path: string;
  readonly query: URLSearchParams;
  /** What the client would rather read; empty when it does not say. */
  readonly accept?: string;
}

export interface AdminResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string | Uint8Array;
  /** In place of `body`, where that would be megabytes. */
  readonly pieces?: Iterable<string>;
}

export type AdminHandler = (request: AdminRequest) => Promise<AdminResponse> | AdminResponse;

/** What loopback answers; everything else is for the Unix socket. */
const readOnlyPaths: ReadonlySet<string> = new Set([
  "/config_dump",
  "/clusters",
  "/listeners",
  "/stats",
  "/stats/prometheus",
  "/server_info",
  "/ready",
  "/certs",
  "/memory",
]);

const listOfPaths = `GET answers:\n${[...readOnlyPaths].map((path) => `  ${path}\n`).join("")}`;

/** Answers only what changes nothing, and only to GET. */
export function readOnlyAdmin(handler: AdminHandler): AdminHandler {
  return (request) => {
    if (request.method === "GET") {
      if (readOnlyPaths.has(request.path)) return handler(request);
      if (request.path === "/" || request.path === "/help") return plainText(200, listOfPaths);
    }
    return plainText(403, `only reading is allowed here\n${listOfPaths}`);
  };
}

export function plainText(status: number, body: string): AdminResponse {
  return { status, contentType: "text/plain; charset=utf-8", body };
}

/**
 * Serves a handler over HTTP; a handler that throws is answered 500 and logged. A Unix socket answers nobody
 * who comes by this process's own data plane: an endpoint may be a Unix socket, and whoever is proxied to it
 * would have the power of the socket's owner.
 */
export function serveAdmin(
  place: HttpListenTarget,
  handler: AdminHandler,
  log: Logger,
): Promise<HttpListener> {
  const sender = new PieceSender();
  const target = "socketPath" in place ? { ...place, refusesOwnProcess: true } : place;
  return listenHttp(target, (incoming, outgoing) => {
    incoming.resume();
    void answer(incoming, outgoing, { handler, log, sender });
  });
}

interface Answering {
  readonly handler: AdminHandler;
  readonly log: Logger;
  readonly sender: PieceSender;
}

async function answer(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { handler, log, sender }: Answering,
): Promise<void> {
  let response: AdminResponse;
  try {
    const url = new URL(incoming.url ?? "/", "http://admin");
    response = await handler({
      method: incoming.method ?? "GET",
      path: url.pathname,
      query: url.searchParams,
      accept: incoming.headers.accept ?? "",
    });
    if (response.pieces !== undefined) {
      outgoing.writeHead(response.status, { "content-type": response.contentType });
      await sender.send(response.pieces, (bytes) => written(outgoing, bytes));
      outgoing.end();
      return;
    }
  } catch (thrown) {
    log.error("an admin request failed", { path: incoming.url ?? "", reason: messageOf(thrown) });
    // What has begun cannot become another answer.
    if (outgoing.headersSent) return void outgoing.destroy();
    response = plainText(500, "internal error\n");
  }
  outgoing.writeHead(response.status, { "content-type": response.contentType });
  outgoing.end(response.body);
}

/** Resolves when the bytes have left this process, with false when they never will. */
function written(outgoing: ServerResponse, bytes: Uint8Array): Promise<boolean> {
  return new Promise((resolve) => {
    if (outgoing.destroyed) return resolve(false);
    const onClose = (): void => resolve(false);
    outgoing.once("close", onClose);
    outgoing.write(bytes, (error) => {
      outgoing.off("close", onClose);
      resolve(error === null || error === undefined);
    });
  });
}
