import assert from "node:assert/strict";
import test from "node:test";

import { ScriptedFeed, xdsResource } from "../../../test/support/scripted-feed.ts";
import type { XdsResource } from "../../xds/feed.ts";
import { ForwardingFeed, type ForwardedUpdate } from "./forwarding-feed.ts";

function forwarding(answers: readonly (string | undefined)[] = []) {
  const feed = new ScriptedFeed();
  const forwarded: ForwardedUpdate[] = [];
  let known: readonly XdsResource[] = [];
  const forwarder = new ForwardingFeed({
    feed,
    forward: async (update) => {
      forwarded.push(update);
      return answers[forwarded.length - 1];
    },
    accepted: (_typeUrl, names) => known.filter(({ name }) => names.has(name)),
  });
  // The control thread's own configuration: it accepts everything.
  forwarder.onUpdate = (update) => {
    known = update.resources;
    update.respond();
  };
  return { feed, forwarded };
}

const settle = async (): Promise<void> => {
  for (let i = 0; i < 50; i++) await Promise.resolve();
};
const resources = (count: number): XdsResource[] =>
  Array.from({ length: count }, (_, i) => xdsResource(`r${i}`));

test("ForwardingFeed sends much in parts, the next when the one before was applied", async () => {
  const { feed, forwarded } = forwarding();
  feed.send("t", resources(600), ["gone"]);
  assert.equal(forwarded.length, 1);
  await settle();
  assert.deepEqual(
    forwarded.map(({ resources: part, removed, isInterim }) => [part.length, removed, isInterim]),
    [
      [256, [], true],
      [256, [], true],
      [88, ["gone"], undefined],
    ],
  );
  assert.deepEqual(
    forwarded.flatMap(({ resources: part }) => part),
    resources(600),
  );
  assert.deepEqual(feed.answers, ["accepted"]);
});

test("ForwardingFeed answers with the first refusal of any part", async () => {
  const { feed } = forwarding([undefined, "no", undefined]);
  feed.send("t", resources(600));
  await settle();
  assert.deepEqual(feed.answers, ["no"]);
});

test("ForwardingFeed forwards an update of nothing, too", async () => {
  const { feed, forwarded } = forwarding();
  feed.send("t", [], ["gone"]);
  await settle();
  assert.deepEqual(forwarded, [{ typeUrl: "t", resources: [], removed: ["gone"] }]);
});
