import { typeUrls } from "../feed.ts";
import type { EncodedResource, ResourceSet } from "../snapshot.ts";
import { refusedResources } from "./refused-resources.ts";

/**
 * What one stream wants of one resource type and what it has been sent, as the server sees it. One
 * implementation for each variant of the protocol; the publisher decides when to send.
 */
export interface ServerSubscription {
  /** The subscription as the client wishes it. */
  readonly wish: "*" | ReadonlySet<string>;
  /** Whether a response waits for its answer; no other is sent meanwhile. */
  readonly isOutstanding: boolean;
  /** Whether the client has `name` from us, or knows of its absence, and has answered for it. */
  isAnswered(name: string): boolean;
  /** Whether the client was sent `name`, whatever it said. */
  isSent(name: string): boolean;
  /**
   * What must be sent so that the client has `view`; undefined when it has it. With `later`, what
   * the view lacks stays with the client for now (make before break).
   */
  next(view: ResourceSet, removals: Removals): Change | undefined;
  /** Notes that `change` was sent under `nonce`. */
  sent(change: Change, nonce: string): void;
  /** Sends these again if the client wants them, whether it has them or not. */
  force(names: Iterable<string>): void;
}

export type Removals = "now" | "later";

/** A view that the client is known to have, so that asking again costs nothing. */
export interface Settled {
  readonly view: ResourceSet;
  readonly removals: Removals;
}

export interface Change {
  readonly resources: readonly EncodedResource[];
  readonly removed: readonly string[];
}

/** What a request says of a response; undefined when it answers none, or one long past. */
export type Answer =
  | { readonly kind: "acked"; readonly change: Change }
  | {
      readonly kind: "refused";
      readonly change: Change;
      /** Those the reason names; empty when it does not tell. */
      readonly resources: readonly EncodedResource[];
      readonly reason: string;
    };

/** The fields both variants read. */
export interface RequestFields {
  readonly responseNonce: string;
  readonly errorDetail?: { readonly message: string; readonly code: number } | undefined;
}

/** A response on its way. */
export interface Outstanding {
  readonly nonce: string;
  readonly change: Change;
}

export function answerTo(outstanding: Outstanding, request: RequestFields): Answer {
  const { change } = outstanding;
  const { errorDetail } = request;
  if (errorDetail === undefined) return { kind: "acked", change };
  const reason = errorDetail.message;
  return { kind: "refused", change, resources: refusedResources(reason, change), reason };
}

const namedTypes: ReadonlySet<string> = new Set([
  typeUrls.route,
  typeUrls.endpoint,
  typeUrls.secret,
]);

/** Whether a first request without names means every resource (the legacy wildcard). */
export function hasWildcard(typeUrl: string): boolean {
  return !namedTypes.has(typeUrl);
}
