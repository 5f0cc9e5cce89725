/** What a connection's filter and the listener that it came to have to say to each other. */
import type { RequestRecord } from "../telemetry/request-record.ts";

/** Who serves an open connection under the configuration of now, as if it had just come. */
export interface ConnectionHome {
  /** Why nobody does; undefined when somebody does. */
  refusal(): HomeRefusal | undefined;
  /**
   * Hands the connection over with what was received and not used. Where nobody takes it, it says
   * why and the connection stays where it is.
   */
  move(first: Buffer): HomeRefusal | undefined;
  /** Wants to hear who speaks first, where neither has before it was passed on, and the first of it. */
  readonly onFirstWords?: FirstWords | undefined;
  /** Wants to hear of a connection that was taken for HTTP and begins otherwise, and how. */
  onNotHttp?(words: Uint8Array): void;
  /** Wants to hear that an endpoint has answered in HTTP. */
  readonly onAnswer?: (() => void) | undefined;
  /** Wants the record that is kept of the connection as a whole. */
  readonly onRecord?: ((record: RequestRecord) => void) | undefined;
}

/** Returns who is to be told of the next; undefined: nobody. */
export type FirstWords = (by: "server" | "client", words: Uint8Array) => FirstWords | undefined;

/** `gone`: no filter chain would take it, or not with its encryption. `denied`: a policy refuses it. */
export type HomeRefusal = "gone" | "denied";
