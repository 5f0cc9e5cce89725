import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { HttpHarness } from "../../../test/support/http-harness.ts";
import { message } from "../../../test/support/message.ts";
import { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";
import type { FilterVerdict, HttpFilter, PauseTicket } from "./filter.ts";
import { type FilteredStream, FilterRun } from "./filter-run.ts";
import { DeadlineWheel } from "./deadline-wheel.ts";
import { RequestBody } from "./request-body.ts";
import type { Upstreams } from "./upstreams.ts";

/** A stream whose filters are asked and written down; `w…` waits. */
class Run {
  readonly clock: FakeClock = new FakeClock();
  readonly seen: string[] = [];
  readonly tickets: PauseTicket[] = [];
  readonly stream: FilteredStream & { isActive: boolean };
  readonly run: FilterRun;

  constructor(...names: readonly string[]) {
    const { seen } = this;
    this.stream = {
      isActive: true,
      body: new RequestBody(),
      override: () => undefined,
      onFiltered: () => void seen.push("passed"),
      flushRequest: () => void seen.push("flushed"),
      passContinue: () => void seen.push("continue"),
    } as never;
    const filters = names.map((name): HttpFilter => ({
      name,
      onRequest: () => this.#onRequest(name),
    }));
    const upstreams = { wheel: new DeadlineWheel(this.clock) } as Upstreams;
    this.run = new FilterRun(this.stream, { list: filters }, upstreams);
    this.run.begin();
  }

  #onRequest(name: string): FilterVerdict {
    this.seen.push(name);
    if (!name.startsWith("w")) return "continue";
    this.tickets.push(this.run.pause());
    return "wait";
  }

  ticket(at: number): PauseTicket {
    const ticket = this.tickets[at];
    assert.ok(ticket !== undefined);
    return ticket;
  }
}

test("resume() goes on with the next filter, once", () => {
  const run = new Run("a", "w", "b");
  run.run.run();
  assert.deepEqual(run.seen, ["a", "w"]);
  assert.equal(run.run.isPaused(run.ticket(0)), true);
  assert.equal(run.run.resume(run.ticket(0)), true);
  assert.deepEqual(run.seen, ["a", "w", "b", "passed", "flushed"]);
  assert.equal(run.run.resume(run.ticket(0)), false);
  assert.equal(run.seen.length, 5);
});

test("resume() knows the ticket of an earlier pause", () => {
  const run = new Run("w1", "w2", "b");
  run.run.run();
  run.run.resume(run.ticket(0));
  assert.equal(run.run.resume(run.ticket(0)), false, "the second filter has not answered");
  assert.equal(run.seen.includes("passed"), false);
  assert.equal(run.run.resume(run.ticket(1)), true);
});

test("resume() does nothing to a stream that has ended, or serves another request", () => {
  const run = new Run("w", "b");
  run.run.run();
  run.stream.isActive = false;
  run.run.reset();
  assert.equal(run.run.resume(run.ticket(0)), false);
  run.stream.isActive = true;
  run.run.reset();
  run.run.run();
  assert.equal(run.run.resume(run.ticket(0)), false);
  assert.deepEqual(run.seen, ["w", "w"]);
  assert.equal(run.run.resume(run.ticket(1)), true);
});

test("readBody() tells of the body until the pause ends, and lets the client send it", () => {
  const run = new Run("w", "b");
  run.run.run();
  let told = 0;
  run.run.readBody({ onRequestBody: () => void told++ }, 100);
  assert.equal(run.stream.body.bytesMax, 100);
  assert.ok(run.seen.includes("continue"));
  run.run.onBody();
  run.run.resume(run.ticket(0));
  run.run.onBody();
  assert.equal(told, 1);
});

test("a delayed request keeps what came of it meanwhile: content and trailers", () => {
  const delay = {
    fixedDelay: { seconds: 1n, nanos: 0 },
    percentage: { numerator: 100 },
  };
  const mesh = new HttpHarness({
    manager: { httpProtocolOptions: { enableTrailers: true } },
    filters: [
      {
        typeUrl: "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        value: HTTPFault.encode(message(HTTPFault, { delay })).finish(),
      },
    ],
  });
  const client = mesh.connect();
  client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
  client.send("0\r\nx-sum: 1\r\n\r\n");
  mesh.clock.advance(1_100);
  const upstream = mesh.upstream();
  assert.match(upstream.take(), /\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n$/);
});

test("a client that was told to stop is read again after an answer of the proxy's", () => {
  const percentage = { numerator: 100 };
  const mesh = new HttpHarness({
    filters: [
      {
        typeUrl: "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault",
        value: HTTPFault.encode(
          message(HTTPFault, {
            delay: { fixedDelay: { seconds: 1n, nanos: 0 }, percentage },
            abort: { httpStatus: 503, percentage },
          }),
        ).finish(),
      },
    ],
  });
  const client = mesh.connect();
  client.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5000\r\n\r\n${"a".repeat(5000)}`);
  assert.equal(client.isPaused, true, "more than may be kept");
  mesh.clock.advance(1_100);
  assert.match(client.take(), /^HTTP\/1\.1 503/);
  assert.equal(client.isPaused, false);
});
