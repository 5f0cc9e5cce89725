import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import type { ScriptedChannel } from "../../../test/support/scripted-channel.ts";

const get = "GET /old HTTP/1.1\r\nhost: shop\r\n\r\n";
const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** Connections of `from` belong to `to` from now on. */
function retire(from: HttpHarness, to: HttpHarness, channel: ScriptedChannel): void {
  from.home = {
    refusal: () => undefined,
    move: (first) => {
      to.adopt(channel, first);
      return undefined;
    },
  };
  from.retire();
}

test("a retired manager ends what is in flight and begins nothing", () => {
  const [old, now] = [new HttpHarness(), new HttpHarness()];
  const client = old.connect();
  client.send(get);
  retire(old, now, client);
  // Pipelined: it arrives after the change, before the answer.
  client.send(get.replace("/old", "/new"));
  old.upstream().send(answer);
  assert.doesNotMatch(client.take(), /connection: close/);
  assert.deepEqual([old.log.length, now.upstreams.length], [1, 1]);
  now.upstream().send(answer);
  assert.match(client.take(), /^HTTP\/1\.1 200 OK\r\n/);
  assert.equal(now.log[0]?.path, "/new");
  assert.equal(client.hasEnded, false);
});

test("a retired manager hands on a request that has half arrived", () => {
  const [old, now] = [new HttpHarness(), new HttpHarness()];
  const client = old.connect();
  client.send("POST /late HTTP/1.1\r\nHost: shop\r\nContent-Le");
  retire(old, now, client);
  client.send("ngth: 5\r\n\r\nhello");
  assert.match(now.upstream().take(), /^POST \/late HTTP\/1\.1\r\n.*\r\n\r\nhello$/s);
  assert.deepEqual(old.log, []);
  old.clock.advance(4_000_000);
  assert.equal(client.hasEnded, false, "deadlines of the old manager are over");
});

test("a retired manager refuses what belongs nowhere, and closes", () => {
  const mesh = new HttpHarness();
  const [busy, idle] = [mesh.connect(), mesh.connect()];
  busy.send(get);
  mesh.retire();
  assert.equal(idle.hasEnded, false);
  mesh.upstream().send(answer);
  assert.match(busy.take(), /^HTTP\/1\.1 200 OK\r\n.*connection: close\r\n/s);
  assert.equal(busy.hasEnded, true);
  idle.send("POST /x HTTP/1.1\r\nhost: shop\r\ncontent-length: 2\r\n\r\nhi");
  assert.match(idle.take(), /^HTTP\/1\.1 503 .*connection: close\r\n.*no longer served$/s);
  assert.equal(idle.hasEnded, true);
  assert.deepEqual(
    mesh.log.map(({ status, flags, details, path }) => [status, flags, details, path]),
    [
      [200, "", "via_upstream", "/old"],
      [503, "NR", "filter_chain_not_found", "/x"],
    ],
  );
});

test("a retired manager refuses what a connection policy of now denies", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  mesh.home = { refusal: () => undefined, move: () => "denied" };
  mesh.retire();
  client.send(get);
  assert.match(client.take(), /^HTTP\/1\.1 403 .*connection: close\r\n.*RBAC: access denied$/s);
});
