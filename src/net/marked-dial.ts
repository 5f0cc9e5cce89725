/**
 * Plain sockets for a sidecar's own connections (control plane, CA, trace collector): with the mark
 * that capture lets pass, or without one. TLS and protocols go on top of what this gives.
 */
import net from "node:net";
import type { Duplex } from "node:stream";

import { HeddleError } from "../base/error.ts";
import type { GrpcAddress } from "./grpc.ts";
import { openMarkedSocket } from "./sysio/socket-options.ts";

/** Fits `GrpcChannelOptions.dial`. Rejects when the mark cannot be set: it would be captured. */
export function markedDial(
  mark: number | undefined,
): (target: GrpcAddress, signal: AbortSignal) => Promise<Duplex> {
  return (target, signal) =>
    new Promise((resolve, reject) => {
      const socket = "path" in target ? new net.Socket() : openSocket(target.address, mark);
      const settle = (finish: () => void): void => {
        socket.off("connect", onConnect);
        socket.off("error", onError);
        signal.removeEventListener("abort", onAbort);
        finish();
      };
      const onConnect = (): void => settle(() => resolve(socket));
      const onError = (error: Error): void => settle(() => reject(error));
      const onAbort = (): void =>
        settle(() => {
          socket.on("error", () => {});
          socket.destroy();
          reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
        });
      socket.once("connect", onConnect);
      socket.once("error", onError);
      signal.addEventListener("abort", onAbort, { once: true });
      if (signal.aborted) onAbort();
      else socket.connect(connectOptions(target));
    });
}

function connectOptions(target: GrpcAddress): net.SocketConnectOpts | net.TcpNetConnectOpts {
  if ("path" in target) return { path: target.path };
  return { host: target.address, port: target.port, noDelay: true };
}

function openSocket(destination: string, mark: number | undefined): net.Socket {
  if (mark === undefined) return new net.Socket();
  const opened = openMarkedSocket({
    destination,
    transport: "tcp",
    mark,
    sourceAddress: undefined,
  });
  if ("refusal" in opened) {
    throw new HeddleError("socket-mark", `cannot connect to ${destination}: ${opened.refusal}`);
  }
  // Without `manualStart` Node reads from the socket, which is not connected yet, and fails.
  const options = { fd: opened.fd, manualStart: true };
  return new net.Socket(options);
}
