import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { memoryFiles } from "../../../test/support/memory-files.ts";
import { ScriptedFeed, xdsResource } from "../../../test/support/scripted-feed.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { typeUrls, type XdsUpdate } from "../../xds/feed.ts";
import { AgentFeed } from "./agent-feed.ts";
import { SnapshotStore } from "./snapshot-store.ts";

const files = memoryFiles();

function open(own: ReadonlyMap<string, (update: XdsUpdate) => void> = new Map(), on = files) {
  const clock = new FakeClock();
  const store = new SnapshotStore({ files: on, clock, log: silentLog, nodeId: "node-1" });
  const upstream = new ScriptedFeed();
  const feed = new AgentFeed({ upstream, store, log: silentLog, own });
  const updates: XdsUpdate[] = [];
  feed.onUpdate = (update) => void updates.push(update);
  const names = (update: XdsUpdate | undefined) => update?.resources.map(({ name }) => name);
  return { clock, store, upstream, feed, updates, names };
}

test("AgentFeed keeps on disk what the proxy accepted, and nothing that it refused", () => {
  const first = open();
  first.feed.subscribe(typeUrls.cluster, "*");
  first.feed.subscribe(typeUrls.route, new Set(["80"]));
  first.upstream.send(typeUrls.cluster, [xdsResource("a"), xdsResource("b")]);
  first.upstream.send(typeUrls.route, [xdsResource("80")]);
  first.updates[0]?.respond();
  first.updates[1]?.respond("no");
  first.clock.advance(1000);
  assert.deepEqual(first.upstream.answers, ["accepted", "no"]);

  const second = open();
  second.feed.subscribe(typeUrls.cluster, "*");
  second.feed.subscribe(typeUrls.route, new Set(["80"]));
  assert.equal(second.updates.length, 1);
  assert.deepEqual(second.names(second.updates[0]), ["a", "b"]);
});

test("AgentFeed removes what only the disk knew when the first answer comes", () => {
  const { feed, upstream, updates, names } = open();
  feed.subscribe(typeUrls.cluster, "*");
  updates[0]?.respond();
  assert.deepEqual(upstream.answers, []);
  upstream.send(typeUrls.cluster, [xdsResource("b", "b2")]);
  assert.deepEqual(updates[1]?.removed, ["a"]);
  assert.deepEqual(names(updates[1]), ["b"]);
  upstream.send(typeUrls.cluster, [xdsResource("c")]);
  assert.deepEqual(updates[2]?.removed, []);
});

test("AgentFeed gives named resources from disk once, as they are asked for", () => {
  const own = memoryFiles();
  const first = open(undefined, own);
  first.feed.subscribe(typeUrls.endpoint, new Set(["a", "b"]));
  first.upstream.send(typeUrls.endpoint, [xdsResource("a"), xdsResource("b")]);
  first.updates[0]?.respond();
  first.clock.advance(1000);
  const { feed, updates, names } = open(undefined, own);
  feed.subscribe(typeUrls.endpoint, new Set(["a"]));
  feed.subscribe(typeUrls.endpoint, new Set(["a", "b"]));
  assert.deepEqual(updates.map(names), [["a"], ["b"]]);
});

test("AgentFeed keeps its own types from the proxy and answers for them", () => {
  const seen: string[] = [];
  const own = new Map([
    [
      typeUrls.peer,
      ({ resources }: XdsUpdate) => {
        if (resources.some(({ name }) => name === "bad")) throw new Error("malformed");
        seen.push(...resources.map(({ name }) => name));
      },
    ],
  ]);
  const { feed, upstream, updates } = open(own, memoryFiles());
  feed.start();
  assert.equal(upstream.wishes.get(typeUrls.peer), "*");
  upstream.send(typeUrls.peer, [xdsResource("cart-0.default")]);
  upstream.send(typeUrls.peer, [xdsResource("bad")]);
  assert.deepEqual(seen, ["cart-0.default"]);
  assert.deepEqual(upstream.answers, ["accepted", "malformed"]);
  assert.equal(updates.length, 0);
});

test("SnapshotStore takes nothing from a file that is damaged or for another proxy", () => {
  const on = memoryFiles();
  const store = () => new SnapshotStore({ files: on, clock, log: silentLog, nodeId });
  const clock = new FakeClock();
  let nodeId = "node-1";
  const written = store();
  written.apply(typeUrls.cluster, [xdsResource("a", "é\nbytes")], []);
  written.save();
  assert.equal(
    Buffer.from(store().resources(typeUrls.cluster).get("a")?.bytes ?? []).toString(),
    "é\nbytes",
  );
  nodeId = "node-2";
  assert.equal(store().typeUrls.length, 0);
  nodeId = "node-1";
  const file = on.content.get("snapshot.bin");
  assert.ok(file !== undefined);
  for (let at = 0; at < file.length; at += 7) {
    const damaged = Buffer.from(file);
    damaged[at] = (damaged[at] ?? 0) ^ 1;
    on.content.set("snapshot.bin", damaged);
    assert.equal(store().typeUrls.length, 0, `byte ${at}`);
    on.content.set("snapshot.bin", file.subarray(0, at));
    assert.equal(store().typeUrls.length, 0, `cut at ${at}`);
  }
});

test("AgentFeed asks nobody for secrets", () => {
  const { feed, upstream, updates } = open(undefined, memoryFiles());
  feed.subscribe(typeUrls.secret, new Set(["default"]));
  feed.subscribe(typeUrls.secret, "*");
  assert.equal(upstream.wishes.size, 0);
  assert.equal(updates.length, 0);
});
