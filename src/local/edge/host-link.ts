/**
 * The inside's end of the channel to the host: asks for connections and listeners there. At most
 * `pendingMax` questions wait; when the channel closes, so does the mesh.
 */
import { Server, Socket } from "node:net";

import { HeddleError } from "../../base/error.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { type HostListenRequest, isMessage, type RequestToHost } from "./messages.ts";

export interface HostLink {
  /** A connection made on the host; its first bytes wait in it. */
  dial(target: SocketAddress | "dns"): Promise<Socket>;
  /** A listener on the host that accepts here, and here alone: closing it frees the port. */
  listen(wanted: HostListenRequest): Promise<Server>;
  tell(message: Extract<RequestToHost, { readonly kind: "step" | "ready" | "failed" }>): void;
}

const pendingMax = 1024;

interface Pending {
  readonly resolve: (handle: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Over `process`'s own IPC channel. `onStop` when the host asks to end, or is gone. */
export function openHostLink(onStop: (isGone: boolean) => void): HostLink {
  const pending = new Map<number, Pending>();
  let lastId = 0;
  process.on("message", (message: unknown, handle: unknown) => {
    if (!isMessage(message)) return;
    if (message.kind === "stop") return onStop(false);
    const id = "id" in message && typeof message.id === "number" ? message.id : 0;
    const waiting = pending.get(id);
    pending.delete(id);
    if (message.kind !== "refused") {
      if (waiting !== undefined) waiting.resolve(handle);
      else if (handle instanceof Socket) handle.destroy();
      return;
    }
    const text = "message" in message ? String(message.message) : "refused";
    const code = "code" in message ? String(message.code) : "local.host";
    waiting?.reject(new HeddleError(code, text));
  });
  process.once("disconnect", () => onStop(true));
  const send = (message: RequestToHost): void => {
    if (process.connected) process.send?.(message);
  };
  const ask = async (message: (id: number) => RequestToHost): Promise<unknown> =>
    await new Promise((resolve, reject) => {
      if (pending.size >= pendingMax) {
        reject(new HeddleError("local.uplink-busy", `${pendingMax} connections wait for the host`));
        return;
      }
      lastId += 1;
      pending.set(lastId, { resolve, reject });
      send(message(lastId));
    });
  return {
    async dial(target) {
      const socket = await ask((id) => ({ kind: "dial", id, target }));
      if (socket instanceof Socket) return socket;
      throw new HeddleError("local.uplink", "the connection was lost on its way into the mesh");
    },
    async listen(wanted) {
      const server = await ask((id) => ({ kind: "listen", id, wanted }));
      if (server instanceof Server) return server;
      throw new HeddleError("local.host-port", "the listener was lost on its way into the mesh");
    },
    tell: send,
  };
}
