/** What the slowed answers of one connection keep together. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { HttpHarness } from "../../../test/support/http-harness.ts";
import { message } from "../../../test/support/message.ts";
import { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";
import { HttpConnectionManager_CodecType } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { DeadlineWheel } from "./deadline-wheel.ts";
import { ResponseThrottle } from "./response-throttle.ts";
import { ThrottledBytes } from "./throttled-bytes.ts";

const mebibyte = 1024 * 1024;

function frame(type: number, flags: number, stream: number, payload: string): string {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return head.toString("latin1") + payload;
}

/** 1024 bytes a second. */
function slowMesh(): HttpHarness {
  const percentage = { numerator: 100 };
  const fault = { responseRateLimit: { fixedLimit: { limitKbps: 1n }, percentage } };
  return new HttpHarness({
    filters: [
      {
        typeUrl: "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        value: HTTPFault.encode(message(HTTPFault, fault)).finish(),
      },
    ],
    manager: { codecType: HttpConnectionManager_CodecType.HTTP2 },
  });
}

test("slowed answers of one connection share what one of them may keep", () => {
  const mesh = slowMesh();
  const client = mesh.connect();
  client.send(`PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n${frame(4, 0, 0, "")}`);
  const [first, second] = [1, 3].map((stream) => {
    client.send(frame(1, 5, stream, "\x82\x86\x84\x41\x04shop"));
    const endpoint = mesh.upstream();
    endpoint.send("HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n");
    return endpoint;
  });
  assert.ok(first !== undefined && second !== undefined && first !== second);
  // The harness's listener keeps 4096 bytes.
  first.send("x".repeat(4_000));
  assert.equal(first.isPaused, false);
  second.send("x".repeat(400));
  assert.equal(second.isPaused, true);
  // What is all gone has room, whatever others have.
  for (let passed = 0; passed < 400; passed += 10) mesh.clock.advance(10);
  assert.equal(second.isPaused, false);
  second.send("x".repeat(900));
  assert.equal(second.isPaused, true);
  // Who leaves gives back what it kept.
  client.send(frame(3, 0, 1, "\0\0\0\x08"));
  for (let passed = 0; passed < 100; passed += 10) mesh.clock.advance(10);
  assert.equal(second.isPaused, false);
});

test("ResponseThrottle.write() takes no more than a connection, and all of them, may keep", () => {
  const all = new ThrottledBytes();
  const wheel = new DeadlineWheel(new FakeClock());
  const answer = { pass: () => {}, onPassed: () => {} };
  const open = (connection: ScriptedChannel): ResponseThrottle => {
    const share = all.shareOf(connection, mebibyte);
    return new ResponseThrottle(answer, wheel, { bytesPerSecond: 1, share });
  };
  const chunk = Buffer.alloc(mebibyte);
  const write = (throttle: ResponseThrottle): boolean => throttle.write(chunk, 0, chunk.length);
  const busy = new ScriptedChannel();
  const throttles = Array.from({ length: 30 }, () => open(busy));
  // Nobody else keeps anything: up to 16 MiB.
  assert.equal(throttles.filter(write).length, 16);
  assert.equal(all.bytes, 16 * mebibyte);
  const others = Array.from({ length: 9 }, () => open(new ScriptedChannel()));
  assert.equal(others.filter(write).length, 9);
  for (const throttle of throttles) throttle.release();
  assert.equal(all.bytes, 9 * mebibyte);
  assert.equal(throttles.filter(write).length, 8);
  for (const throttle of [...throttles, ...others]) throttle.release();
  assert.equal(all.bytes, 0);
});

test("ResponseThrottle gives up memory that what waits no longer needs", () => {
  const clock = new FakeClock();
  const wheel = new DeadlineWheel(clock);
  const memory: number[] = [];
  const pass = ({ buffer }: Buffer): void => void memory.push(buffer.byteLength);
  const share = new ThrottledBytes().shareOf(new ScriptedChannel(), mebibyte);
  const bytesPerSecond = 2 * mebibyte;
  const throttle = new ResponseThrottle({ pass, onPassed: () => {} }, wheel, {
    bytesPerSecond,
    share,
  });
  throttle.write(Buffer.alloc(mebibyte), 0, mebibyte);
  for (let passed = 0; passed < 1000 && !throttle.isEmpty; passed += 10) clock.advance(10);
  assert.ok(throttle.isEmpty);
  // The first piece has left from where it was.
  assert.ok((memory[1] ?? 0) > mebibyte, memory.join());
  assert.ok((memory.at(-1) ?? mebibyte) < mebibyte / 2, memory.join());
});
