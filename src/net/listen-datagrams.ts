/** UDP for small questions and answers (DNS). Each datagram is answered at most once. */
import dgram from "node:dgram";
import { isIPv6 } from "node:net";

import { HeddleError } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import { onClosed, onOpened, takeKeptDatagrams } from "./portable/kept.ts";
import { plainAddress } from "./portable/socket-channel.ts";

export interface DatagramOptions {
  readonly address: string;
  readonly port: number;
  readonly onDatagram: (bytes: Buffer, reply: (answer: Uint8Array) => void) => void;
  readonly onError: (reason: string) => void;
}

export interface BoundDatagrams {
  readonly address: SocketAddress;
  close(): Promise<void>;
}

/** Rejects with `listen-failed` when the address cannot be bound. */
export function listenDatagrams(options: DatagramOptions): Promise<BoundDatagrams> {
  const { address, port, onDatagram, onError } = options;
  const socket = isIPv6(address)
    ? dgram.createSocket({ type: "udp6", ipv6Only: true })
    : dgram.createSocket("udp4");
  return new Promise((resolve, reject) => {
    socket.once("error", (error) => {
      const message = `cannot listen on UDP ${address}:${port}: ${error.message}`;
      reject(new HeddleError("listen-failed", message, { cause: error }));
    });
    const kept = takeKeptDatagrams({ address, port });
    const onBound = (): void => {
      socket.removeAllListeners("error");
      socket.on("error", (error) => onError(error.message));
      const bound = socket.address();
      const own = { address: plainAddress(bound.address), port: bound.port };
      if (kept !== undefined) onOpened(own, kept, "udp");
      resolve({
        address: own,
        close: () => {
          onClosed(own, "udp");
          return new Promise((closed) => socket.close(() => closed()));
        },
      });
    };
    if (kept === undefined) socket.bind(port, address, onBound);
    else socket.bind({ fd: kept }, onBound);
    socket.on("message", (bytes, from) => {
      onDatagram(bytes, (answer) => {
        // An asker that is gone is none of our business; the callback keeps it from being thrown.
        socket.send(answer, from.port, from.address, (error) => {
          if (error !== null) onError(error.message);
        });
      });
    });
  });
}
