import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import type { ScriptedChannel } from "../../../test/support/scripted-channel.ts";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const settings = "\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** GET / of `a`, from the static table. */
const request = (id: number): string =>
  `\0\0\x06\x01\x05\0\0\0${String.fromCharCode(id)}\x82\x86\x84\x01\x01a`;

/** `END 1`, `GOAWAY max`, `GOAWAY 3`, `RESET 5`: what has come since the last call, in order. */
function take(client: ScriptedChannel): readonly string[] {
  const bytes = Buffer.from(client.take(), "latin1");
  const events: string[] = [];
  for (let at = 0; at + 9 <= bytes.length;) {
    const [type = 0, flags = 0] = [bytes[at + 3], bytes[at + 4]];
    const id = bytes.readUInt32BE(at + 5);
    if (type === 7) {
      const last = bytes.readUInt32BE(at + 9);
      events.push(`GOAWAY ${last === 2 ** 31 - 1 ? "max" : last}`);
    } else if (type === 3) events.push(`RESET ${id}`);
    else if (type <= 1 && (flags & 1) !== 0) events.push(`END ${id}`);
    at += 9 + bytes.readUIntBE(at, 3);
  }
  return events;
}

function connect(mesh: HttpHarness): ScriptedChannel {
  const client = mesh.connect();
  client.send(preface + settings);
  take(client);
  return client;
}

test("ServerConnection says farewell twice when another configuration is in force", () => {
  const mesh = new HttpHarness();
  mesh.home = { refusal: () => undefined, move: () => undefined };
  const client = connect(mesh);
  client.send(request(1));
  const first = mesh.upstream();
  mesh.retire();
  assert.deepEqual(take(client), ["GOAWAY max"]);
  client.send(request(3));
  mesh.upstream().send(answer);
  assert.deepEqual(take(client), ["END 3"]);
  mesh.clock.advance(5100);
  assert.deepEqual(take(client), ["GOAWAY 3"]);
  // Its client has heard: what it begins all the same is not served.
  client.send(request(5));
  first.send(answer);
  assert.deepEqual(take(client), ["END 1"]);
  assert.equal(client.hasEnded, true);
  assert.deepEqual([mesh.upstreams.length, mesh.log.length], [2, 2]);
});

test("ServerConnection refuses streams where the configuration of now serves nobody here", () => {
  const mesh = new HttpHarness();
  const client = connect(mesh);
  mesh.retire();
  take(client);
  client.send(request(1));
  assert.deepEqual(take(client), ["GOAWAY 1", "RESET 1"]);
  assert.equal(mesh.upstreams.length, 0);
});

test("ServerConnection announces idleness, and serves what was on its way", () => {
  const mesh = new HttpHarness({
    manager: { commonHttpProtocolOptions: { idleTimeout: { seconds: 60n, nanos: 0 } } },
  });
  const client = connect(mesh);
  mesh.clock.advance(60_100);
  assert.deepEqual(take(client), ["GOAWAY max"]);
  client.send(request(1));
  mesh.upstream().send(answer);
  assert.deepEqual(take(client), ["END 1"]);
  assert.equal(client.hasEnded, false);
  mesh.clock.advance(5100);
  assert.deepEqual(take(client), ["GOAWAY 1"]);
  assert.equal(client.hasEnded, true);
});

test("ServerConnection gives who is idle a second between two words, when the process ends", () => {
  const mesh = new HttpHarness();
  const client = connect(mesh);
  mesh.clock.advance(2000);
  const quietSince = (): number => mesh.clock.monotonicMs() - 1000;
  mesh.closeIdle(quietSince());
  assert.deepEqual(take(client), ["GOAWAY max"]);
  mesh.clock.advance(500);
  mesh.closeIdle(quietSince());
  assert.deepEqual(take(client), []);
  mesh.clock.advance(600);
  mesh.closeIdle(quietSince());
  assert.deepEqual(take(client), ["GOAWAY 0"]);
  assert.equal(client.hasEnded, true);
});

test("ServerConnection ends a connection whose client does not say that it has read our settings", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(`${preface}\0\0\0\x04\0\0\0\0\0`);
  take(client);
  mesh.clock.advance(29_000);
  assert.deepEqual(take(client), []);
  mesh.clock.advance(1500);
  assert.deepEqual(take(client), ["GOAWAY 0"]);
  assert.equal(client.hasEnded, true);
  assert.match(mesh.metrics.expose(), /envoy_http2_settings_timeout\{[^}]*\} 1\n/);
});
