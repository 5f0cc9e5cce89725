import assert from "node:assert/strict";
import { test } from "node:test";

import { typeUrls } from "../feed.ts";
import type { Wish } from "./delta-subscription.ts";
import { SotwClientSubscription } from "./sotw-protocol.ts";

interface Seen {
  readonly resources: readonly string[];
  readonly removed: readonly string[];
}

/** A subscription with the responses it gets: `name: content`. */
function subscriptionOf(
  typeUrl: string,
  wish: Wish,
): {
  readonly subscription: SotwClientSubscription;
  readonly receive: (
    contents: Readonly<Record<string, string>>,
    outcome: "accepted" | "refused",
  ) => Seen;
} {
  const subscription = new SotwClientSubscription(typeUrl, wish);
  let version = 0;
  const receive = (
    contents: Readonly<Record<string, string>>,
    outcome: "accepted" | "refused",
  ): Seen => {
    version += 1;
    const answered = { version: String(version), nonce: String(version) };
    const resources = Object.entries(contents).map(([name, content]) => ({
      name,
      version: answered.version,
      bytes: Buffer.from(content),
    }));
    const received = subscription.receive({
      ...answered,
      typeUrl,
      resources,
      removed: [],
      broken: undefined,
    });
    assert.ok(received.kind === "usable");
    if (outcome === "accepted") subscription.accepted(answered, received);
    return { resources: received.resources.map(({ name }) => name), removed: received.removed };
  };
  return { subscription, receive };
}

test("SotwClientSubscription tells of the end of what came with a refused response", () => {
  const { receive } = subscriptionOf(typeUrls.cluster, "*");
  receive({ a: "1" }, "accepted");
  assert.deepEqual(receive({ a: "1", good: "1", bad: "1" }, "refused").resources, ["good", "bad"]);
  assert.deepEqual(receive({ a: "1" }, "accepted"), { resources: [], removed: ["good", "bad"] });
});

test("SotwClientSubscription hands on what a refused response may have replaced or removed", () => {
  const { receive } = subscriptionOf(typeUrls.listener, "*");
  receive({ a: "1", b: "1" }, "accepted");
  assert.deepEqual(receive({ a: "2", bad: "1" }, "refused").removed, ["b"]);
  // As it was first: the data plane may hold `a: 2`, and `b` no more.
  assert.deepEqual(receive({ a: "1", b: "1" }, "accepted").resources, ["a", "b"]);
  assert.deepEqual(receive({ a: "1", b: "1" }, "accepted").resources, []);
});

test("SotwClientSubscription waits for no name that a refused response has held", () => {
  const { subscription, receive } = subscriptionOf(typeUrls.endpoint, new Set(["a", "b"]));
  assert.deepEqual(subscription.unanswered(), ["a", "b"]);
  receive({ a: "1" }, "refused");
  assert.deepEqual(subscription.unanswered(), ["b"]);
  subscription.setWish(new Set(["b"]));
  subscription.setWish(new Set(["a", "b"]));
  assert.deepEqual(subscription.unanswered(), ["a", "b"]);
});
