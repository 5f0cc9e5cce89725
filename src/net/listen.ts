/**
 * Listening sockets of the portable backend. Knows nothing of what is spoken on them: whoever
 * listens sets the handler of each accepted channel before it returns to the event loop.
 */
import net from "node:net";

import { isPipe, type SocketAddress } from "../base/socket-address.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Channel } from "./channel.ts";
import type { TcpKeepAlive } from "./dialler.ts";
import { listenFailure } from "./listen-failure.ts";
import { reportFault } from "./portable/fault.ts";
import { onClosed, onOpened, takeKept } from "./portable/kept.ts";
import {
  localAddressOf,
  plainAddress,
  remoteAddressOf,
  silentHandler,
  SocketChannel,
} from "./portable/socket-channel.ts";
import { openLibc } from "./sysio/libc.ts";
import { openBoundSocket, setSocketOptions, type SocketOption } from "./sysio/listening-socket.ts";
import { type PipeFile, removePipe } from "./sysio/pipe-socket.ts";
import { readOriginalDestination, setKeepAlive } from "./sysio/socket-options.ts";

export type { SocketOption } from "./sysio/listening-socket.ts";

export interface ListenOptions {
  /** What it is called; tells listeners apart where threads share them. */
  readonly name?: string;
  readonly on:
    | { readonly kind: "address"; readonly address: string; readonly port: number }
    /** A listening socket made elsewhere and inherited. */
    | { readonly kind: "descriptor"; readonly fd: number };
  /** Connections beyond this are closed as soon as they are accepted, and told to `onOverflow`. */
  readonly connectionsMax: number;
  /** Connections the kernel keeps until we accept them; 511 unless told. */
  readonly backlog?: number;
  /** Bytes that may wait to be sent on one connection before `write` says false; 64 KiB unless told. */
  readonly writeQueueBytesMax?: number;
  /** The kernel asks idle peers whether they are still there; never unless told. */
  readonly keepAlive?: TcpKeepAlive | undefined;
  /** What else the kernel is asked of the socket; it is refused where the kernel refuses one. */
  readonly socketOptions?: readonly SocketOption[];
  /** Of a Unix socket's file: its permissions; 0 unless told, which leaves them to the process's mask. */
  readonly mode?: number;
  /** Connections that are accepted in one turn of the loop; 64 unless told. Of the epoll backend. */
  readonly acceptsMax?: number | undefined;
  /** Ask the kernel where a redirected connection was meant to go. */
  readonly readsOriginalDestination: boolean;
  readonly log: Logger;
  readonly onChannel: (channel: Channel) => void;
  /** An accepted connection is gone, whoever ended it and however often it was wrapped since. */
  readonly onClosed?: (channel: Channel) => void;
  readonly onOverflow?: () => void;
}

export interface BoundListener {
  /** With the port that was chosen when 0 was asked for. */
  readonly address: SocketAddress;
  /** Connections are welcome from now on; absent where they come as soon as it is bound. */
  serve?(): void;
  /** Stops accepting; accepted connections go on. Resolves when the port is free. */
  close(): Promise<void>;
}

/** Where a Unix socket listens, and where those that connect to it are said to come from: as Envoy. */
export function pipeOf({ on }: Pick<ListenOptions, "on">): SocketAddress | undefined {
  if (on.kind === "descriptor" || !isPipe(on.address)) return undefined;
  return { address: on.address, port: 0 };
}

/** Resolves when connections can come in; rejects with `listen-failed` and the reason. */
export function listen(options: ListenOptions): Promise<BoundListener> {
  const server = net.createServer({
    allowHalfOpen: true,
    noDelay: true,
    highWaterMark: options.writeQueueBytesMax ?? 65_536,
  });
  const open = new Set<net.Socket>();
  server.on("connection", (socket) => {
    if (open.size >= options.connectionsMax) {
      socket.on("error", () => {});
      socket.destroy();
      options.onOverflow?.();
      return;
    }
    open.add(socket);
    socket.once("close", () => open.delete(socket));
    acceptSocket(socket, options);
  });
  if (options.readsOriginalDestination) warnWithoutLibc(options.log);
  return new Promise((resolve, reject) => {
    const { on, backlog = 511, socketOptions = [], mode } = options;
    const pipe = pipeOf(options);
    let file: PipeFile | undefined;
    const refuse = (refusal: string): void =>
      reject(listenFailure(options, { code: undefined, message: refusal }));
    server.once("error", (error) => {
      const { message } = error;
      if (file !== undefined) removePipe(file);
      reject(listenFailure(options, { code: codeOf(error), message, cause: error }));
    });
    server.once("listening", () => {
      server.removeAllListeners("error");
      const refusal = setSocketOptions(descriptorOf(server), socketOptions, "listening");
      if (refusal !== undefined) {
        if (file !== undefined) removePipe(file);
        server.close();
        refuse(refusal);
        return;
      }
      // Accepted sockets inherit it.
      setKeepAlive(descriptorOf(server), options.keepAlive);
      server.on("error", (error) => {
        options.log.error("accepting connections failed", { reason: error.message });
      });
      const isOurs = on.kind === "address" && pipe === undefined;
      const bound = boundListener(server, { isOurs, pipe, file });
      if (isOurs) onOpened(bound.address, descriptorOf(server), "tcp");
      resolve(bound);
    });
    const fd = on.kind === "descriptor" ? on.fd : pipe === undefined ? takeKept(on) : undefined;
    if (fd !== undefined) server.listen({ fd, backlog });
    else if (on.kind === "address" && (socketOptions.length > 0 || pipe !== undefined)) {
      const opened = openBoundSocket(on, socketOptions, mode);
      if ("refusal" in opened) return refuse(opened.refusal);
      file = opened.file;
      server.listen({ fd: opened.fd, backlog });
    } else if (on.kind === "address") {
      // As Envoy without `ipv4_compat`: `::` and `0.0.0.0` are two listeners on one port.
      const ipv6Only = on.address.includes(":");
      server.listen({ host: on.address, port: on.port, backlog, ipv6Only });
    }
  });
}

function acceptSocket(socket: net.Socket, options: ListenOptions): void {
  const { log } = options;
  const pipe = pipeOf(options);
  const local = pipe ?? localAddressOf(socket);
  const remote = pipe ?? remoteAddressOf(socket);
  // Gone before we looked: there is no peer to speak of.
  if (remote.address === "") {
    socket.on("error", () => {});
    socket.destroy();
    return;
  }
  const original = options.readsOriginalDestination
    ? readOriginalDestination(descriptorOf(socket), remote.address.includes("."))
    : undefined;
  const channel = new SocketChannel(socket, {
    handler: silentHandler,
    local,
    remote,
    originalDestination: original ?? local,
    onFault: (thrown) => reportFault(log, remote, thrown),
  });
  const { onClosed } = options;
  if (onClosed !== undefined) socket.once("close", () => onClosed(channel));
  try {
    options.onChannel(channel);
  } catch (thrown) {
    channel.destroy();
    reportFault(log, remote, thrown);
  }
}

/**
 * Node has no public way to a socket's descriptor; -1 (no original destination) when the handle has
 * another shape than the versions this was written for.
 */
function descriptorOf(socket: net.Socket | net.Server): number {
  const handle: unknown = Reflect.get(socket, "_handle");
  if (typeof handle !== "object" || handle === null) return -1;
  const fd: unknown = Reflect.get(handle, "fd");
  return typeof fd === "number" ? fd : -1;
}

let hasWarned = false;

function warnWithoutLibc(log: Logger): void {
  const probe = openLibc();
  if (probe.kind === "present" || hasWarned) return;
  hasWarned = true;
  log.warn("original destinations cannot be read; only explicit addresses work", {
    reason: probe.reason,
  });
}

interface BoundHow {
  /** Whoever keeps the process's sockets is told of it. */
  readonly isOurs: boolean;
  readonly pipe: SocketAddress | undefined;
  readonly file: PipeFile | undefined;
}

function boundListener(server: net.Server, { isOurs, pipe, file }: BoundHow): BoundListener {
  const address = pipe ?? boundAddress(server);
  return {
    address,
    // The callback of `server.close` waits for every accepted connection; ours must not.
    close: () => {
      if (isOurs && server.listening) onClosed(address, "tcp");
      if (file !== undefined && server.listening) removePipe(file);
      server.close();
      return new Promise((resolve) => setImmediate(resolve));
    },
  };
}

function boundAddress(server: net.Server): SocketAddress {
  const bound = server.address();
  return bound === null || typeof bound === "string"
    ? { address: bound ?? "", port: 0 }
    : { address: plainAddress(bound.address), port: bound.port };
}

function codeOf(error: Error): string | undefined {
  return "code" in error && typeof error.code === "string" ? error.code : undefined;
}
