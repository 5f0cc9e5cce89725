/**
 * What the mesh's supervisor, inside its namespaces, and the process outside tell each other over
 * Node's IPC channel. Sockets travel with `dialled` and `listening`.
 */
import type { SocketAddress } from "../../base/socket-address.ts";

export interface HostListenRequest extends SocketAddress {
  /** `gatewayPortKey`: what was opened for it before the mesh started is handed over. */
  readonly key: string;
  /** Names it in the sentence that says why it cannot be opened: `gateway edge`. */
  readonly what: string;
}

/** From inside to outside. */
export type RequestToHost =
  /** `dns`: the host's own name server, whatever it is. */
  | { readonly kind: "dial"; readonly id: number; readonly target: SocketAddress | "dns" }
  | { readonly kind: "listen"; readonly id: number; readonly wanted: HostListenRequest }
  | { readonly kind: "step"; readonly text: string }
  | { readonly kind: "ready"; readonly notReady: readonly string[] }
  | { readonly kind: "failed"; readonly code: string; readonly message: string };

/** From outside to inside. */
export type AnswerFromHost =
  | { readonly kind: "dialled" | "listening"; readonly id: number }
  | {
      readonly kind: "refused";
      readonly id: number;
      readonly code: string;
      readonly message: string;
    }
  | { readonly kind: "stop" };

/** The channel joins two processes of one program; only what is not a message at all is refused. */
export function isMessage(value: unknown): value is { readonly kind: string } {
  return (
    typeof value === "object" && value !== null && "kind" in value && typeof value.kind === "string"
  );
}
