/** What the two variants of the discovery protocol have in common, for a client's stream. */
import type { Node } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { DeltaResource, Received, Wish } from "./delta-subscription.ts";

export interface ClientProtocol {
  /** The gRPC method. */
  readonly path: string;
  subscription(typeUrl: string, wish: Wish): ClientSubscription;
  /** Undefined when the bytes are no response. */
  decode(message: Uint8Array): ClientResponse | undefined;
}

/** One resource type on any number of streams; what it wants to send it gives as a message. */
export interface ClientSubscription {
  readonly typeUrl: string;
  /** Versions of the resources that were accepted. */
  readonly held: ReadonlyMap<string, string>;
  setWish(wish: Wish): void;
  /** Asks again for a wanted resource, where the variant can. */
  refresh?(name: string): void;
  /** Forgets the stream: the next request is the first on another. */
  streamLost(): void;
  /** What brings the server up to date with our wish; undefined when it is. */
  nextRequest(): EncodeRequest | undefined;
  /** An acknowledgement, or a refusal. */
  answer(response: AnsweredResponse, refusal: string | undefined): EncodeRequest;
  receive(response: ClientResponse): Received;
  /** Notes that a response was accepted, also when its stream is gone. */
  accepted(response: AnsweredResponse, received: Extract<Received, { kind: "usable" }>): void;
  /** Names that were asked for and that no response has held or denied: for whoever stops waiting. */
  unanswered(): readonly string[];
}

/** The first request of a stream says who we are. */
export type EncodeRequest = (node: Node | undefined) => Uint8Array;

export interface ClientResponse {
  readonly typeUrl: string;
  readonly version: string;
  readonly nonce: string;
  readonly resources: readonly DeltaResource[];
  readonly removed: readonly string[];
  /** Why none of it can be used. */
  readonly broken: string | undefined;
}

export interface AnsweredResponse {
  readonly version: string;
  readonly nonce: string;
}
