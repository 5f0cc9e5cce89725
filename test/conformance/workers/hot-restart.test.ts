/**
 * A proxy is replaced under 5,000 new connections a second and 500 open streams of every kind: none is
 * refused or reset, streams go on with the old proxy until their end, newcomers go to the new one. The same
 * scenario by hand, with figures: `npm run hot-restart`.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { runHotRestart } from "../../../bench/hot-restart/run.ts";

const rate = 5000;
const streams = { http: 200, grpc: 150, websocket: 75, tcp: 75 };

for (const concurrency of [0, 2]) {
  test(`a proxy is replaced under ${rate} new connections/s and 500 open streams: none is refused or reset (${concurrency} workers)`, async (t) => {
    const plan = { rate, streams, concurrency, drainTimeS: 600, togetherMs: 300 };
    const { newcomers, ...result } = await runHotRestart(plan);
    assert.deepEqual(newcomers.failures, {});
    assert.equal(newcomers.answered, newcomers.asked);
    assert.deepEqual(result.broken, []);
    assert.equal(result.streams, 500);
    assert(result.handsOver, "who has a successor takes no connection any more");
    // Connections come when they are due, so the rate is missed by what comes late at the end alone.
    const lateMs = newcomers.tookMs - (newcomers.asked * 1000) / rate;
    const excusedMs = result.processorWaitMs + newcomers.tookMs / 10;
    assert(lateMs <= excusedMs, `${lateMs} ms late, ${result.processorWaitMs} without a processor`);
    t.diagnostic(
      `${newcomers.answered} connections, ${newcomers.perSecond.toFixed(0)}/s, p99 ${newcomers.p99.toFixed(0)} ms; the new proxy served after ${result.servesAfterMs.toFixed(0)} ms`,
    );
  });
}
