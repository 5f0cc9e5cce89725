import assert from "node:assert/strict";
import { test } from "node:test";

import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { StreamAccessLogsMessage } from "../../wire/gen/ts/envoy/service/accesslog/v3/als.ts";
import { HTTPAccessLogEntry } from "../../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import { FakeClock } from "../../../test/support/fake-clock.ts";
import { requestRecord } from "../../../test/support/request-record.ts";
import { message } from "../../../test/support/message.ts";
import { encodeHttpEntry, encodeTcpEntry, type EntryPlan } from "./grpc-log-entry.ts";
import { GrpcLog, type LogCall, type LogCallOwner } from "./grpc-log.ts";
import { ReportMemory } from "./report-memory.ts";

/** A call that takes what it is told to take. */
class ScriptedCall implements LogCall {
  canSend = true;
  readonly messages: StreamAccessLogsMessage[] = [];
  readonly owner: LogCallOwner;
  isClosed = false;

  constructor(owner: LogCallOwner) {
    this.owner = owner;
  }

  close(): void {
    this.isClosed = true;
  }

  send(bytes: Uint8Array): void {
    this.messages.push(StreamAccessLogsMessage.decode(bytes));
  }
}

function setUp(batchBytes = 16_384, memory = new ReportMemory()) {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const calls: ScriptedCall[] = [];
  /** What happens to the calls that are begun from now on. */
  const next = { isRefused: false, canSend: true };
  const log = new GrpcLog({
    clock,
    identifier: new Uint8Array([18, 1, 0x78]),
    kind: "http",
    flushAfterMs: 1000,
    batchBytes,
    memory,
    written: metrics.counter("written", "w"),
    dropped: metrics.counter("dropped", "d"),
    open(owner) {
      const call = new ScriptedCall(owner);
      call.canSend = next.canSend && !next.isRefused;
      calls.push(call);
      if (next.isRefused) owner.onClosed("refused");
      return call;
    },
  });
  const count = (name: string): number =>
    Number(new RegExp(`^${name} (\\d+)`, "m").exec(metrics.expose())?.[1]);
  return { clock, log, calls, next, count };
}

const entry = HTTPAccessLogEntry.encode(
  message(HTTPAccessLogEntry, { request: { path: "/a" } }),
).finish();
const large = HTTPAccessLogEntry.encode(
  message(HTTPAccessLogEntry, { request: { path: "/".repeat(10_000) } }),
).finish();

test("GrpcLog.add() gathers entries, and says who sends once in a call", () => {
  const { clock, log, calls } = setUp();
  log.add(entry);
  log.add(entry);
  assert.equal(calls.length, 0);
  clock.advance(1000);
  log.add(entry);
  clock.advance(1000);
  const messages = calls[0]?.messages ?? [];
  assert.deepEqual(
    messages.map(({ httpLogs }) => httpLogs?.logEntry.length),
    [2, 1],
  );
  assert.deepEqual(
    messages.map(({ identifier }) => identifier?.logName),
    ["x", undefined],
  );
});

test("GrpcLog.add() sends a full batch at once", () => {
  const { log, calls } = setUp(15_000);
  log.add(large);
  assert.equal(calls.length, 0);
  log.add(large);
  assert.equal(calls[0]?.messages[0]?.httpLogs?.logEntry.length, 2);
});

test("GrpcLog drops and counts what a slow collector does not take, and goes on when it does", () => {
  const { clock, log, calls, next, count } = setUp(1);
  next.canSend = false;
  for (let i = 0; i < 200; i++) log.add(large);
  assert.equal(calls.length, 1);
  assert.equal(count("written") + count("dropped"), 200);
  assert.ok(count("written") <= 105 && count("written") >= 104, String(count("written")));
  const [call] = calls;
  assert.ok(call !== undefined);
  call.canSend = true;
  call.owner.onRoom();
  assert.equal(call.messages[0]?.httpLogs?.logEntry.length, count("written"));
  log.add(entry);
  clock.advance(1000);
  assert.equal(call.messages.length, 2);
});

test("GrpcLog keeps entries for a collector that is away, and asks for it once in a second", () => {
  const { clock, log, calls, next } = setUp(1);
  next.isRefused = true;
  for (let i = 0; i < 50; i++) log.add(entry);
  assert.equal(calls.length, 1);
  clock.advance(500);
  assert.equal(calls.length, 1);
  clock.advance(500);
  assert.equal(calls.length, 2);
  next.isRefused = false;
  clock.advance(2000);
  assert.equal(calls[2]?.messages[0]?.httpLogs?.logEntry.length, 50);
  assert.equal(calls[2]?.messages[0]?.identifier?.logName, "x");
});

test("GrpcLog says who it is again in another call", () => {
  const { clock, log, calls } = setUp();
  log.add(entry);
  clock.advance(1000);
  calls[0]?.owner.onClosed("ended");
  log.add(entry);
  clock.advance(3000);
  assert.equal(calls.length, 2);
  assert.equal(calls[1]?.messages[0]?.identifier?.logName, "x");
});

const plan: EntryPlan = {
  customTags: [],
  filterStates: [],
  requestHeaders: [],
  responseHeaders: [],
  responseTrailers: [],
};

test("encodeHttpEntry() has a field for each flag that Envoy has one for", () => {
  const flags = "LH,UH,UT,LR,UR,UF,UC,UO,NR,DI,FI,RL,UAEX,RLSE,DC,URX,SI,IH,DPE,UMSDR";
  const responseFlags = `${flags},DT,UPE,NC,OM,DF,DR,DO`;
  const told = HTTPAccessLogEntry.decode(encodeHttpEntry(requestRecord({ responseFlags }), 6, plan))
    .commonProperties?.responseFlags;
  const { unauthorizedDetails, _unknownFields, ...others } = told ?? {};
  assert.equal(unauthorizedDetails?.reason, 1);
  const unset = Object.entries(others).filter(([, isSet]) => isSet !== true);
  assert.deepEqual(
    unset.map(([name]) => name),
    ["responseFromCacheFilter", "noFilterConfigFound"],
  );
});

test("encodeTcpEntry() tells all entries of a connection by one id", () => {
  const record = requestRecord({ kind: "tcp", requestId: "" });
  const idOf = (of: typeof record): string | undefined => {
    const bytes = encodeTcpEntry(of, 3, plan);
    return HTTPAccessLogEntry.decode(bytes).commonProperties?.streamId;
  };
  assert.match(idOf(record) ?? "", /^[0-9a-f-]{36}$/);
  assert.equal(idOf(record), idOf(record));
  assert.notEqual(idOf(record), idOf(requestRecord({ kind: "tcp" })));
});

test("GrpcLog ends its call when nothing was logged for a minute, and begins another when something is", () => {
  const { clock, log, calls } = setUp();
  log.add(entry);
  clock.advance(30_000);
  log.add(entry);
  clock.advance(59_000);
  assert.deepEqual([calls.length, calls[0]?.isClosed], [1, false]);
  clock.advance(1000);
  assert.equal(calls[0]?.isClosed, true);
  log.add(entry);
  clock.advance(1000);
  assert.equal(calls.length, 2);
  assert.notEqual(calls[1]?.messages[0]?.identifier, undefined);
});

test("GrpcLog gives up, and counts, what has waited for a collector for a minute", () => {
  const { clock, log, calls, next, count } = setUp();
  next.isRefused = true;
  log.add(entry);
  log.add(entry);
  clock.advance(60_000);
  const tried = calls.length;
  assert.equal(count("dropped"), 2);
  clock.advance(600_000);
  assert.equal(calls.length, tried, "nothing is left to send");
});

test("GrpcLog.finish() sends what waits, and resolves when it has left or its call ends", async () => {
  const { log, calls } = setUp();
  await log.finish();
  assert.equal(calls.length, 0);
  log.add(entry);
  await log.finish();
  assert.equal(calls[0]?.messages.length, 1);
  const slow = setUp();
  slow.next.canSend = false;
  slow.log.add(entry);
  let isOver = false;
  const over = slow.log.finish().then(() => (isOver = true));
  await Promise.resolve();
  assert.ok(!isOver);
  const [call] = slow.calls;
  assert.ok(call !== undefined);
  call.canSend = true;
  call.owner.onRoom();
  await over;
  assert.equal(call.messages.length, 1);
  const away = setUp();
  away.next.isRefused = true;
  away.log.add(entry);
  await away.log.finish();
  assert.equal(away.calls[0]?.messages.length, 0);
});

test("GrpcLog.add() drops what finds no room among all that waits for collectors", () => {
  const memory = new ReportMemory(15_000);
  const { clock, log, calls, next, count } = setUp(100_000, memory);
  next.canSend = false;
  for (let i = 0; i < 4; i++) log.add(large);
  assert.equal(count("dropped"), 2);
  assert.ok(memory.bytes > 20_000);
  clock.advance(1000);
  const [call] = calls;
  assert.ok(call !== undefined);
  call.canSend = true;
  call.owner.onRoom();
  assert.equal(memory.bytes, 0);
  log.add(large);
  assert.equal(count("dropped"), 2);
  clock.advance(120_000);
  assert.equal(memory.bytes, 0, "nobody waits for ever");
});
