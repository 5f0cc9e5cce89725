/**
 * HTTP servers of the control plane's own (console, API), on `node:http`. Not for the data path.
 */
import type { RequestListener, Server } from "node:http";
import type { ListenOptions, Socket } from "node:net";
import { HeddleError, messageOf } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import { nodeHttp } from "./node-http.ts";
import { onClosed, onOpened, takeKept } from "./portable/kept.ts";
import { descriptorOf } from "./socket-handle.ts";
import {
  isOwnProcess,
  makePrivateSocket,
  removeStaleSocket,
  withPrivateMask,
} from "./unix-socket.ts";

/** An inherited listening socket, an address, or a Unix socket made for its owner alone. */
export type HttpListenTarget =
  | { readonly fd: number }
  | SocketAddress
  | {
      readonly socketPath: string;
      /** Nobody comes by a proxy of this process, whatever its configuration says. */
      readonly refusesOwnProcess?: boolean;
    };

export interface HttpListener {
  /** Undefined for a Unix socket. */
  readonly address: SocketAddress | undefined;
  /** Stops listening and ends every connection. */
  close(): Promise<void>;
}

const limits = { headersTimeoutMs: 10_000, requestTimeoutMs: 30_000, connectionsMax: 512 } as const;

/** Throws `net.listen-failed` with the reason in a sentence. */
export async function listenHttp(
  target: HttpListenTarget,
  handler: RequestListener,
): Promise<HttpListener> {
  const server = nodeHttp.createServer(
    { headersTimeout: limits.headersTimeoutMs, requestTimeout: limits.requestTimeoutMs },
    handler,
  );
  if ("socketPath" in target && target.refusesOwnProcess === true) {
    server.on("connection", (socket) => void (isOwnProcess(socket) && socket.destroy()));
  }
  makeRoom(server, limits.connectionsMax);
  if ("socketPath" in target) {
    await removeStaleSocket(target.socketPath);
    await withPrivateMask(() => listen(server, target));
    await makePrivateSocket(target.socketPath);
  } else {
    await listen(server, target);
  }
  const bound = server.address();
  const address =
    bound === null || typeof bound === "string"
      ? undefined
      : { address: bound.address, port: bound.port };
  const kept = "address" in target ? address : undefined;
  if (kept !== undefined) onOpened(kept, descriptorOf(server), "tcp");
  return {
    address,
    close: () =>
      new Promise((resolve) => {
        if (kept !== undefined) onClosed(kept, "tcp");
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/**
 * At the limit, who comes takes the place of whoever has longest asked nothing. Were newcomers refused
 * instead, one that holds connections open could keep everybody else out, such as the probe without
 * which a sidecar is started anew.
 */
function makeRoom(server: Server, connectionsMax: number): void {
  const open = new Set<Socket>();
  const silent = new Set<Socket>();
  const leave = (socket: Socket): void => {
    open.delete(socket);
    silent.delete(socket);
  };
  server.on("connection", (socket) => {
    if (socket.destroyed) return;
    const [longestSilent = socket] = open.size >= connectionsMax ? silent : [];
    if (open.size >= connectionsMax) {
      leave(longestSilent);
      longestSilent.destroy();
    }
    if (socket.destroyed) return;
    open.add(socket);
    silent.add(socket);
    socket.once("close", () => leave(socket));
  });
  server.on("request", ({ socket }, response) => {
    silent.delete(socket);
    response.once("close", () => {
      if (open.has(socket)) silent.add(socket);
    });
  });
}

function listen(server: Server, target: HttpListenTarget): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error) => {
      const place = formatTarget(target);
      reject(
        new HeddleError("net.listen-failed", `listening on ${place}: ${messageOf(error)}`, {
          cause: error,
        }),
      );
    });
    server.listen(listenOptions(target), () => resolve());
  });
}

function listenOptions(target: HttpListenTarget): ListenOptions & { readonly fd?: number } {
  if ("fd" in target) return { fd: target.fd };
  if ("socketPath" in target) return { path: target.socketPath };
  const fd = takeKept(target);
  if (fd !== undefined) return { fd };
  return { host: target.address, port: target.port };
}

function formatTarget(target: HttpListenTarget): string {
  if ("fd" in target) return `inherited socket ${target.fd}`;
  if ("socketPath" in target) return target.socketPath;
  return `${target.address}:${target.port}`;
}
