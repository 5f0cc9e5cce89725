/**
 * The host's end of the channel into the mesh: dials what leaves it, opens host ports it asks for.
 * A socket is paused from its first moment, so that a server which speaks first loses nothing on the
 * way in.
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { connect, type Socket } from "node:net";

import { HeddleError, messageOf } from "../../base/error.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { AnswerFromHost } from "../edge/messages.ts";
import { isMessage } from "../edge/messages.ts";
import { type HostListener, openHostListener } from "./host-listener.ts";

const dialTimeoutMs = 10_000;

export interface UplinkOptions {
  readonly child: ChildProcess;
  /** Opened before the mesh was started; what it does not ask for is closed when it is ready. */
  readonly gateways: readonly HostListener[];
  readonly onStep: (text: string) => void;
  readonly onReady: (notReady: readonly string[]) => void;
  readonly onFailed: (error: HeddleError) => void;
}

export function serveUplink(options: UplinkOptions): void {
  const { child } = options;
  const waiting = new Map(options.gateways.map((one) => [one.key, one]));
  const answer = (
    message: AnswerFromHost,
    handle?: Parameters<ChildProcess["send"]>[1],
    onSent?: () => void,
  ): void => {
    if (!child.connected) {
      onSent?.();
      return;
    }
    child.send(message, handle, { keepOpen: false }, () => {
      // The mesh may have ended while we spoke; its exit is handled where exits are.
      onSent?.();
    });
  };
  const refuse = (id: number, thrown: unknown): void => {
    const code = thrown instanceof HeddleError ? thrown.code : "local.uplink";
    answer({ kind: "refused", id, code, message: messageOf(thrown) });
  };
  child.on("message", (message: unknown) => {
    if (!isMessage(message)) return;
    const id = "id" in message && typeof message.id === "number" ? message.id : 0;
    switch (message.kind) {
      case "dial": {
        const target = "target" in message ? message.target : undefined;
        dialOnHost(target === "dns" ? nameServer() : addressOf(target)).then(
          (socket) => answer({ kind: "dialled", id }, socket),
          (thrown: unknown) => refuse(id, thrown),
        );
        return;
      }
      case "listen": {
        listenOnHost("wanted" in message ? message.wanted : undefined, waiting).then(
          ({ server }) => {
            // Its own copy would go on accepting connections here, which nobody answers.
            answer({ kind: "listening", id }, server, () => server.close());
          },
          (thrown: unknown) => refuse(id, thrown),
        );
        return;
      }
      case "step":
        return options.onStep("text" in message ? String(message.text) : "");
      case "ready": {
        const late: unknown = "notReady" in message ? message.notReady : [];
        for (const { server } of waiting.values()) server.close();
        waiting.clear();
        return options.onReady(Array.isArray(late) ? late.map(String) : []);
      }
      case "failed": {
        const code = "code" in message ? String(message.code) : "local.failed";
        const text = "message" in message ? String(message.message) : "it failed";
        return options.onFailed(new HeddleError(code, text));
      }
    }
  });
}

/** Connects, and does not read: the first bytes stay in the kernel until the socket has moved. */
export async function dialOnHost({ address, port }: SocketAddress): Promise<Socket> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host: address, port, allowHalfOpen: true });
    socket.pause();
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.setTimeout(dialTimeoutMs, () => {
      fail(new HeddleError("local.uplink", `no connection to ${address}:${port} in 10 s`));
    });
    socket.once("error", fail);
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.off("error", fail);
      socket.on("error", () => socket.destroy());
      resolve(socket);
    });
  });
}

async function listenOnHost(
  wanted: unknown,
  waiting: Map<string, HostListener>,
): Promise<HostListener> {
  const address = addressOf(wanted);
  const { key, what } = {
    key: "",
    what: "a gateway",
    ...(typeof wanted === "object" ? wanted : undefined),
  };
  const open = waiting.get(key);
  if (open !== undefined && (address.port === 0 || address.port === open.address.port)) {
    waiting.delete(key);
    return open;
  }
  return await openHostListener(what, address, key);
}

function addressOf(value: unknown): SocketAddress {
  if (typeof value === "object" && value !== null && "address" in value && "port" in value) {
    return { address: String(value.address), port: Number(value.port) };
  }
  throw new HeddleError("local.uplink", "the mesh asked for no address");
}

/** Read each time: the host's network, and with it its name server, may change under the mesh. */
function nameServer(): SocketAddress {
  const fallback = { address: "127.0.0.53", port: 53 };
  try {
    const text = readFileSync("/etc/resolv.conf", "utf8");
    const address = /^\s*nameserver\s+(\S+)/m.exec(text)?.[1];
    return address === undefined ? fallback : { address, port: 53 };
  } catch {
    return fallback;
  }
}
