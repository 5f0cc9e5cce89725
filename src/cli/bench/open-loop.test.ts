import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { silentLog } from "../../../test/support/silent-log.ts";
import { systemClock } from "../../base/clock.ts";
import { createPortableDialler } from "../../net/portable-dialler.ts";
import { LatencyHistogram } from "./latency-histogram.ts";
import { type LoadResult, runOpenLoop } from "./open-loop.ts";

async function loadOn(
  answer: (number: number) => { readonly status: number; readonly afterMs: number },
  plan: { readonly ratePerSecond: number; readonly connectionsMax: number },
): Promise<LoadResult> {
  let number = 0;
  const server = createServer((_request, response) => {
    const { status, afterMs } = answer(number++);
    setTimeout(() => response.writeHead(status).end("body"), afterMs);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const bound = server.address();
  assert.ok(typeof bound === "object" && bound !== null);
  try {
    const dialler = createPortableDialler({ clock: systemClock, log: silentLog });
    const parts = { dialler, clock: systemClock };
    return await runOpenLoop(
      {
        ...plan,
        target: { address: "127.0.0.1", port: bound.port },
        request: "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        warmupMs: 0,
        durationMs: 200,
      },
      parts,
    );
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

test("runOpenLoop() sends at its rate and counts what fails by kind", async () => {
  const result = await loadOn((number) => ({ status: number % 10 === 0 ? 503 : 200, afterMs: 0 }), {
    ratePerSecond: 500,
    connectionsMax: 8,
  });
  assert.equal(result.sent, 100);
  assert.equal(result.latencies.total, 90);
  assert.deepEqual([result.failed, result.failures], [10, { "status 503": 10 }]);
});

test("runOpenLoop() counts from when a request was due: a stall is in every time behind it", async () => {
  const result = await loadOn((number) => ({ status: 200, afterMs: number === 0 ? 150 : 0 }), {
    ratePerSecond: 200,
    connectionsMax: 1,
  });
  assert.equal(result.sent, 40);
  const late = result.latencies.quantile(0.5);
  assert.ok(late > 30, `half of them waited for the first: ${late} ms`);
});

test("LatencyHistogram finds quantiles within its steps, and adds", () => {
  const [a, b] = [new LatencyHistogram(), new LatencyHistogram()];
  for (let ms = 1; ms <= 50; ms++) a.record(ms);
  for (let ms = 51; ms <= 100; ms++) b.record(ms);
  a.add(LatencyHistogram.fromJson(JSON.parse(JSON.stringify(b))));
  assert.equal(a.total, 100);
  for (const [share, expected] of [
    [0.5, 50],
    [0.99, 99],
    [1, 100],
  ] as const) {
    assert.ok(Math.abs(a.quantile(share) - expected) <= expected * 0.02, String(a.quantile(share)));
  }
  assert.equal(new LatencyHistogram().quantile(0.5), 0);
});
