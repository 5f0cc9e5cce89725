import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import { operatorFor } from "../../telemetry/access-log-operators.ts";
import { phases, splitTime } from "../../telemetry/request-times.ts";
import { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import { writeSpan } from "../stats/span-writer.ts";
import { ScopeSpans } from "../../wire/gen/ts/opentelemetry/proto/trace/v1/trace.ts";
import { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";

const head = "GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/** Phases of the last request that took time. */
function split({ record }: HttpHarness): Record<string, number> {
  assert.ok(record?.times !== undefined);
  const parts = splitTime(record.times);
  return Object.fromEntries(
    phases.flatMap((phase, i) => ((parts[i] ?? 0) > 0 ? [[phase, parts[i] ?? 0] as const] : [])),
  );
}

function say({ record }: HttpHarness, operator: string): unknown {
  const found = operatorFor(operator);
  assert.ok(typeof found === "function", String(found));
  assert.ok(record !== undefined);
  return found(record);
}

/** What a sampled span says of the last request's time, in microseconds. */
function spanTimes({ record }: HttpHarness): Record<string, number> {
  assert.ok(record !== undefined);
  const writer = new ProtobufWriter(1);
  writeSpan(writer, 2, record, { role: "server" });
  const [span] = ScopeSpans.decode(writer.memory.subarray(0, writer.length)).spans;
  const told = (span?.attributes ?? []).filter(({ key }) => key.startsWith("heddle.time."));
  return Object.fromEntries(
    told.flatMap(({ key, value }) => {
      const us = Number(value?.intValue ?? 0n);
      return us > 0 ? [[key.slice("heddle.time.".length), us] as const] : [];
    }),
  );
}

test("a backend's 50 ms and a filter's 20 ms are told apart to the millisecond", () => {
  const delay = {
    fixedDelay: { seconds: 0n, nanos: 20_000_000 },
    percentage: { numerator: 100, denominator: 0 },
  } as const;
  const fault = HTTPFault.encode(HTTPFault.fromPartial({ delay })).finish();
  const typeUrl = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
  const mesh = new HttpHarness({ filters: [{ typeUrl, value: fault }] });
  mesh.connect().send(head);
  mesh.clock.advance(20);
  mesh.clock.advance(7);
  const app = mesh.upstream();
  mesh.clock.advance(50);
  app.send(answer.slice(0, -1));
  mesh.clock.advance(3);
  app.send(answer.slice(-1));
  assert.deepEqual(split(mesh), { filters: 20, connect: 7, first_byte: 50, last_byte: 3 });
  assert.equal(mesh.record?.durationMs, 80);
  assert.equal(say(mesh, "COMMON_DURATION(US_TX_BEG:US_RX_BEG:us)"), 50_000);
  assert.equal(say(mesh, "COMMON_DURATION(US_CX_BEG:US_CX_END)"), 7);
  assert.equal(say(mesh, "HEDDLE_DURATION(filters)"), 20);
  assert.equal(say(mesh, "HEDDLE_DURATION(first_byte:us)"), 50_000);
  assert.equal(say(mesh, "HEDDLE_DURATION(overhead:us)"), 0);
  assert.equal(say(mesh, "RESPONSE_TX_DURATION"), 3);
  const told = { filters_us: 20_000, connect_us: 7000, first_byte_us: 50_000, last_byte_us: 3000 };
  assert.deepEqual(spanTimes(mesh), told);
});

test("the proxy's own share of each request goes to a histogram", () => {
  const mesh = new HttpHarness();
  const count = (): string | undefined =>
    /^heddle_proxy_overhead_milliseconds_count\{http_conn_manager_prefix="[^"]*"\} (\d+)$/m.exec(
      mesh.metrics.expose(),
    )?.[1];
  assert.equal(count(), "0");
  const client = mesh.connect();
  for (const expected of ["1", "2"]) {
    client.send(head);
    mesh.upstream().send(answer);
    assert.equal(count(), expected);
  }
});

test("a slow client's time is the client's, of its head and of its body", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  const upload = "POST /a HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\nbody";
  client.send(upload.slice(0, 10));
  mesh.clock.advance(30);
  client.send(upload.slice(10, -4));
  const app = mesh.upstream();
  mesh.clock.advance(40);
  client.send(upload.slice(-4));
  mesh.clock.advance(5);
  app.send(answer);
  assert.deepEqual(split(mesh), { downstream: 70, first_byte: 5 });
  assert.equal(say(mesh, "DURATION"), 75);
  assert.equal(say(mesh, "COMMON_DURATION(DS_RX_BEG:DS_RX_HDR_END)"), 30);
});

test("a request that waits for a connection of another says so", () => {
  const mesh = new HttpHarness({ limits: { connection: 1 } });
  mesh.connect().send(head);
  const app = mesh.upstream();
  mesh.connect().send(head.replace("/a", "/b"));
  mesh.clock.advance(15);
  app.send(answer);
  mesh.clock.advance(4);
  app.send(answer);
  assert.equal(mesh.record?.path, "/b");
  assert.deepEqual(split(mesh), { pool: 15, first_byte: 4 });
});

test("operators of time refuse what nothing sets", () => {
  for (const [operator, reason] of [
    ["COMMON_DURATION(DS_RX_BEG:MY_POINT:ms)", /MY_POINT, which nothing sets/],
    ["COMMON_DURATION(DS_RX_BEG:DS_TX_END:s)", /needs START:END/],
    ["HEDDLE_DURATION(authz)", /knows no phase authz/],
  ] as const) {
    assert.match(String(operatorFor(operator)), reason);
  }
});
