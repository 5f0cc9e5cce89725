import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import type { Deferred } from "../base/turn-end.ts";
import type { Channel } from "../net/channel.ts";
import { type InternalDoor, InternalDialler } from "./internal.ts";

const silent = { onData: () => {}, onEnd: () => {}, onDrain: () => {}, onClose: () => {} };

/** Whether so many bytes may wait for a listener inside that lets 4,096 wait. */
function mayWait(bytes: number, bufferBytesMax: number | undefined): boolean {
  const due: Deferred[] = [];
  let answer: boolean | undefined;
  const other = { dial: () => assert.fail("it is inside"), close: () => {} };
  const dialler = new InternalDialler(other, {
    clock: new FakeClock(),
    log: silentLog,
    turnEnd: { defer: (work) => void due.push(work) },
    bufferBytesMax,
  });
  const door: InternalDoor = {
    restoresDestination: false,
    queueBytesMax: 4096,
    accept: (channel) => channel.pause(),
    onClosed: () => {},
  };
  dialler.find = () => door;
  dialler.dial({
    address: { address: "envoy://inner/", port: 0 },
    internal: { listener: "inner", passesState: false, metadata: undefined, state: undefined },
    tls: undefined,
    timeoutMs: 1000,
    handler: silent,
    onConnect: (channel: Channel) => (answer = channel.write(Buffer.alloc(bytes))),
  });
  for (const work of due.splice(0)) work.runDeferred();
  return answer ?? assert.fail("it was not connected");
}

test("InternalDialler lets no more wait than its listener, its cluster and the proxy allow", () => {
  assert.equal(mayWait(4096, undefined), true);
  assert.equal(mayWait(4097, undefined), false);
  assert.equal(mayWait(1024, 1024), true);
  assert.equal(mayWait(1025, 1024), false);
  assert.equal(mayWait(4097, 65_536), false);
});

test("InternalDialler sends what is said before all else", () => {
  const due: Deferred[] = [];
  let heard = "";
  const other = { dial: () => assert.fail("it is inside"), close: () => {} };
  const dialler = new InternalDialler(other, {
    clock: new FakeClock(),
    log: silentLog,
    turnEnd: { defer: (work) => void due.push(work) },
    bufferBytesMax: undefined,
  });
  const onData = (chunk: Buffer): void => void (heard += chunk.toString("latin1"));
  dialler.find = () => ({
    restoresDestination: false,
    queueBytesMax: 4096,
    accept: (channel) => (channel.handler = { ...silent, onData }),
    onClosed: () => {},
  });
  dialler.dial({
    address: { address: "envoy://inner/", port: 0 },
    internal: { listener: "inner", passesState: false, metadata: undefined, state: undefined },
    tls: undefined,
    timeoutMs: 1000,
    preface: ({ address }) => Buffer.from(`${address}: `),
    handler: silent,
    onConnect: (channel: Channel) => void channel.write(Buffer.from("hello")),
  });
  while (due.length > 0) for (const work of due.splice(0)) work.runDeferred();
  assert.equal(heard, "envoy://internal_client_address/: hello");
});
