import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { requestRecord } from "../../../test/support/request-record.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { mergeTaps, Tap } from "./tap.ts";

function makeTap(share = 0) {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const tap = new Tap({ clock, metrics, random: () => 0.5, share });
  const end = (changes: Partial<RequestRecord> = {}, headers = {}): void =>
    tap.onEnd(
      requestRecord({ startMonotonicMs: clock.monotonicMs(), durationMs: 0, ...changes }, headers),
    );
  return { clock, metrics, tap, end };
}

const failed = { responseCode: 503, responseCodeDetails: "no_healthy_upstream" };

test("onEnd() keeps what failed, what was refused and what was slow", () => {
  const { tap, end } = makeTap();
  end();
  end({ responseCode: 404 });
  end(failed);
  end({ responseCode: 403, responseCodeDetails: "rbac_access_denied_matched_policy[deny-all]" });
  end({ durationMs: 1000 });
  const { requests } = tap.read("");
  assert.deepEqual(
    requests.map(({ reason, status, policy }) => [reason, status, policy]),
    [
      ["failed", 503, undefined],
      ["failed", 403, "deny-all"],
      ["slow", 200, undefined],
    ],
  );
});

test("onEnd() keeps a share of the others", () => {
  for (const [share, kept] of [
    [0.4, 0],
    [0.6, 1],
  ] as const) {
    const { tap, end } = makeTap(share);
    end();
    assert.equal(tap.read("").requests.length, kept);
  }
});

test("read() tells no query, no header and no cookie", () => {
  const { tap, end } = makeTap();
  end(
    { ...failed, path: "/items?token=secret" },
    { cookie: "secret", authorization: "Bearer secret" },
  );
  assert.doesNotMatch(JSON.stringify(tap.read("")), /secret/);
});

test("read() with a position keeps what the watcher asks for, until he asks no more", () => {
  const { tap, end, clock } = makeTap();
  const ask = (after: number) => tap.read(`after=${after}&path=/items&method=GET&status=2xx`);
  let { upTo } = ask(0);
  clock.advance(10);
  end();
  end({ path: "/other" });
  end({ method: "POST" });
  end({ ...failed });
  const answer = ask(upTo);
  assert.deepEqual(
    answer.requests.map(({ reason, path }) => [reason, path]),
    [["watched", "/items"]],
  );
  upTo = answer.upTo;
  assert.deepEqual(ask(upTo).requests, []);
  clock.advance(5001);
  end();
  assert.deepEqual(ask(upTo).requests, []);
});

test("read() says what is wrong with a query", () => {
  const { tap } = makeTap();
  for (const [query, reason] of [
    ["status=600", /status is a code or a class/],
    ["only=fast", /only is failed or slow/],
    ["after=x", /after is a number/],
    ["cookie=1", /no parameter cookie/],
  ] as const) {
    assert.throws(() => tap.read(query), reason);
  }
});

test("onEnd() makes so many records a second, and counts the rest", () => {
  const { tap, end, clock, metrics } = makeTap();
  for (let i = 0; i < 150; i++) end(failed);
  assert.equal(tap.read("last=1000").requests.length, 100);
  assert.equal(tap.read("").leftOut, 50);
  assert.match(metrics.expose(), /heddle_request_records_total\{outcome="left_out"\} 50/);
  for (let second = 0; second < 10; second++) {
    clock.advance(1000);
    for (let i = 0; i < 100; i++) end(failed);
  }
  const { requests } = tap.read("last=1000");
  assert.equal(requests.length, 256);
  assert.ok(
    requests.every(({ sequence }, i) => i === 0 || sequence > (requests[i - 1]?.sequence ?? 0)),
  );
});

test("mergeTaps() holds back what another thread has not reached yet", () => {
  const { tap, end, clock } = makeTap();
  end(failed);
  const [first] = tap.read("").requests;
  assert.ok(first !== undefined);
  const early = { requests: [], upTo: first.sequence - 1, leftOut: 1 };
  const late = { requests: [first], upTo: first.sequence, leftOut: 2 };
  assert.deepEqual(mergeTaps([early, late]), {
    requests: [],
    upTo: first.sequence - 1,
    leftOut: 3,
  });
  clock.advance(1);
  assert.deepEqual(mergeTaps([{ ...early, upTo: first.sequence }, late]).requests, [first]);
});
