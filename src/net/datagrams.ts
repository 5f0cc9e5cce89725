/**
 * UDP for a data plane: a socket at an address that this machine may not have, and sockets that speak with
 * one peer alone and hear from the kernel (ICMP) when nobody is there. Sent by Node's sockets on both
 * I/O backends. What cannot be sent at once waits, bounded; beyond that it is lost, and the caller told.
 */
import dgram from "node:dgram";
import { isIPv6 } from "node:net";

import { HeddleError } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import { plainAddress } from "./portable/socket-channel.ts";
import { openMarkedSocket, openTransparentSocket } from "./sysio/socket-options.ts";

export interface DatagramSocketOptions {
  readonly address: SocketAddress;
  /** The address may be anybody's: whoever routes its datagrams here (CAP_NET_ADMIN). */
  readonly isTransparent: boolean;
  /** `bytes` are the handler's to keep. */
  readonly onDatagram: (bytes: Buffer, from: SocketAddress) => void;
  readonly onError: (code: string) => void;
}

export interface DatagramSocket {
  readonly address: SocketAddress;
  /** False where too much waits to be sent: the datagram is lost. */
  send(bytes: Uint8Array, to: SocketAddress): boolean;
  close(): Promise<void>;
}

export interface DatagramPeerOptions {
  readonly to: SocketAddress;
  /** SO_MARK, by which capture lets it pass. */
  readonly mark: number | undefined;
  readonly onDatagram: (bytes: Buffer) => void;
  /** `ECONNREFUSED`: an ICMP error came. The peer is still open. */
  readonly onError: (code: string) => void;
}

/** Usable at once: what is sent before the socket is connected goes when it is. */
export interface DatagramPeer {
  send(bytes: Uint8Array): boolean;
  close(): void;
}

/** Bytes of one socket that the kernel has not taken. */
const queueBytesMax = 1 << 20;

/** Rejects with `listen-failed`. */
export function openDatagrams(options: DatagramSocketOptions): Promise<DatagramSocket> {
  const { address, onDatagram, onError } = options;
  const socket = socketFor(address.address);
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => {
      const where = `${address.address}:${address.port}`;
      reject(new HeddleError("listen-failed", `cannot listen on UDP ${where}: ${reason}`));
    };
    socket.once("error", (error) => fail(error.message));
    socket.on("message", (bytes, { address: from, port }) => {
      onDatagram(bytes, { address: from, port });
    });
    const onBound = (): void => {
      socket.removeAllListeners("error");
      socket.on("error", (error) => onError(codeOf(error)));
      const bound = socket.address();
      resolve({
        address: { address: plainAddress(bound.address), port: bound.port },
        send: (bytes, to) => {
          if (socket.getSendQueueSize() > queueBytesMax) return false;
          socket.send(bytes, to.port, to.address, (error) => {
            if (error !== null) onError(codeOf(error));
          });
          return true;
        },
        close: () => new Promise((closed) => socket.close(() => closed())),
      });
    };
    if (!options.isTransparent) {
      socket.bind(address.port, address.address, onBound);
      return;
    }
    const opened = openTransparentSocket(address);
    if ("refusal" in opened) fail(opened.refusal);
    else socket.bind({ fd: opened.fd }, onBound);
  });
}

/** Throws `socket-mark` where the mark cannot be set: what it sends would be captured. */
export function openDatagramPeer(options: DatagramPeerOptions): DatagramPeer {
  const { to, mark, onDatagram, onError } = options;
  const opened =
    mark === undefined
      ? undefined
      : openMarkedSocket({
          destination: to.address,
          transport: "udp",
          mark,
          sourceAddress: undefined,
        });
  if (opened !== undefined && "refusal" in opened) {
    throw new HeddleError("socket-mark", `cannot send to ${to.address}: ${opened.refusal}`);
  }
  const socket = socketFor(to.address);
  let early: Uint8Array[] | undefined = [];
  let isClosed = false;
  const tell = (error: Error | null): void => {
    if (error !== null && !isClosed) onError(codeOf(error));
  };
  const send = (bytes: Uint8Array): boolean => {
    if (isClosed || socket.getSendQueueSize() > queueBytesMax) return false;
    socket.send(bytes, tell);
    return true;
  };
  socket.on("error", tell);
  socket.on("message", (bytes) => {
    if (!isClosed) onDatagram(bytes);
  });
  const connect = (): void => {
    if (isClosed) return;
    socket.connect(to.port, to.address, () => {
      const waiting = early ?? [];
      early = undefined;
      for (const bytes of waiting) send(bytes);
    });
  };
  if (opened === undefined) connect();
  else socket.bind({ fd: opened.fd }, connect);
  return {
    send(bytes) {
      if (early === undefined) return send(bytes);
      if (early.length >= earlyMax) return false;
      early.push(bytes);
      return true;
    },
    close() {
      if (isClosed) return;
      isClosed = true;
      early = undefined;
      socket.close();
    },
  };
}

/** Datagrams that wait for their socket: it takes a turn of the loop or two. */
const earlyMax = 256;

function socketFor(address: string): dgram.Socket {
  return isIPv6(address)
    ? dgram.createSocket({ type: "udp6", ipv6Only: true, lookup: asItIs(6) })
    : dgram.createSocket({ type: "udp4", lookup: asItIs(4) });
}

/** Addresses are all that is ever asked for; Node would look each of them up once for each datagram. */
function asItIs(family: 4 | 6): NonNullable<dgram.SocketOptions["lookup"]> {
  return (hostname, _options, callback) => callback(null, hostname, family);
}

function codeOf(error: Error): string {
  return "code" in error && typeof error.code === "string" ? error.code : error.message;
}
