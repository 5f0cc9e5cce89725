import assert from "node:assert/strict";
import { test } from "node:test";

import { unknownPeer } from "../telemetry/standard-metrics.ts";
import { encodePeer, PeerTable } from "./peer-table.ts";

const row = (name: string, workload: string) => ({
  name,
  version: "1",
  bytes: encodePeer({ ...unknownPeer, workload, namespace: "shop" }),
});

test("PeerTable resolves instances, also after they are gone", () => {
  const table = new PeerTable();
  table.apply({ resources: [row("web-0.shop", "web")], removed: [] });
  const { revision } = table;
  table.apply({ resources: [row("web-1.shop", "web")], removed: ["web-0.shop"] });
  assert.equal(table.resolve("web-0.shop")?.workload, "web");
  assert.equal(table.resolve("web-1.shop")?.namespace, "shop");
  assert.equal(table.resolve("other.shop"), undefined);
  assert.notEqual(table.revision, revision);
});

test("PeerTable takes nothing of an update with a malformed row", () => {
  const table = new PeerTable();
  const malformed = { name: "bad", version: "1", bytes: Buffer.from([0x0a, 0xff]) };
  assert.throws(() => table.apply({ resources: [row("a.b", "a"), malformed], removed: [] }));
  assert.equal(table.resolve("a.b"), undefined);
});
