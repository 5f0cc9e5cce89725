import assert from "node:assert/strict";
import { test } from "node:test";

import { ClientSessions, sessionKeyOf } from "./client-sessions.ts";

function kept(session: string, isSingleUse = true, validUntilMs = 1000) {
  return { session, validUntilMs, isSingleUse };
}

test("ClientSessions gives the newest, one of TLS 1.3 once", () => {
  const sessions = new ClientSessions<string>(2);
  for (const session of ["a", "b", "c"]) sessions.put("one", kept(session));
  const taken = [1, 2, 3].map(() => sessions.take("one", 0)?.session);
  assert.deepEqual(taken, ["c", "b", undefined]);
  sessions.put("one", kept("old", false));
  assert.equal(sessions.take("one", 0)?.session, "old");
  assert.equal(sessions.take("one", 0)?.session, "old");
  sessions.forget("one");
  assert.equal(sessions.take("one", 0), undefined);
});

test("ClientSessions drops what is too many, over, or of other material", () => {
  const dropped: string[] = [];
  const sessions = new ClientSessions<string>(1, (session) => dropped.push(session));
  const material = {};
  sessions.useFor(material);
  sessions.put("one", kept("a"));
  sessions.put("one", kept("b"));
  assert.deepEqual(dropped.splice(0), ["a"]);
  assert.equal(sessions.take("one", 1000), undefined);
  assert.deepEqual(dropped.splice(0), ["b"]);
  sessions.put("one", kept("c"));
  sessions.useFor(material);
  assert.deepEqual(dropped, []);
  sessions.useFor({});
  assert.deepEqual(dropped.splice(0), ["c"]);
  for (let i = 0; i < 1030; i++) sessions.put(`server ${i}`, kept(`${i}`));
  assert.deepEqual(dropped, ["0", "1", "2", "3", "4", "5"]);
  assert.equal(sessions.take("server 5", 0), undefined);
  assert.equal(sessions.take("server 6", 0)?.session, "6");
});

test("sessionKeyOf() tells servers and their names apart", () => {
  const server = { address: "10.0.0.1", port: 443 };
  const keys = [
    sessionKeyOf(server, undefined),
    sessionKeyOf(server, "a"),
    sessionKeyOf(server, "b"),
    sessionKeyOf({ ...server, port: 444 }, "a"),
    sessionKeyOf({ ...server, address: "10.0.0.2" }, "a"),
  ];
  assert.equal(new Set(keys).size, keys.length);
});
