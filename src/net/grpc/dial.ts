import net from "node:net";
import type { Duplex } from "node:stream";
import tls from "node:tls";

import type { GrpcClientTls } from "../grpc-client.ts";
import type { GrpcAddress } from "../grpc.ts";

export interface DialOptions {
  readonly target: GrpcAddress;
  readonly tls: GrpcClientTls | undefined;
  readonly dial: ((target: GrpcAddress, signal: AbortSignal) => Promise<Duplex>) | undefined;
  readonly signal: AbortSignal;
}

/** A connection that is ready for HTTP/2: connected and, over TLS, verified and with ALPN `h2`. */
export async function dialSocket(options: DialOptions): Promise<Duplex> {
  const dial = options.dial ?? dialPlain;
  const socket = await dial(options.target, options.signal);
  if (options.tls === undefined) return socket;
  return await secure(socket, options.tls, options.signal);
}

function dialPlain(target: GrpcAddress, signal: AbortSignal): Promise<Duplex> {
  const socket =
    "path" in target
      ? net.connect({ path: target.path })
      : net.connect({ host: target.address, port: target.port, noDelay: true });
  return until(socket, "connect", signal);
}

async function secure(
  raw: Duplex,
  { roots, serverName, certificate }: GrpcClientTls,
  signal: AbortSignal,
): Promise<Duplex> {
  const socket = tls.connect({
    socket: raw,
    ca: roots,
    servername: serverName,
    ALPNProtocols: ["h2"],
    minVersion: "TLSv1.3",
    ...(certificate === undefined
      ? {}
      : { cert: certificate.chainPem, key: certificate.privateKeyPem }),
  });
  await until(socket, "secureConnect", signal);
  if (socket.alpnProtocol !== "h2") {
    socket.destroy();
    throw new Error("the server does not speak HTTP/2 over TLS");
  }
  return socket;
}

function until<S extends Duplex>(socket: S, event: string, signal: AbortSignal): Promise<S> {
  return new Promise((resolve, reject) => {
    const settle = (finish: () => void): void => {
      socket.off(event, onReady);
      socket.off("error", onError);
      socket.off("close", onClose);
      signal.removeEventListener("abort", onAbort);
      finish();
    };
    const onReady = (): void => settle(() => resolve(socket));
    const onError = (error: Error): void => settle(() => reject(error));
    const onClose = (): void => settle(() => reject(new Error("closed by the peer")));
    const onAbort = (): void => {
      settle(() => reject(signal.reason instanceof Error ? signal.reason : new Error("aborted")));
      socket.on("error", () => {});
      socket.destroy();
    };
    socket.once(event, onReady);
    socket.once("error", onError);
    socket.once("close", onClose);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
  });
}
