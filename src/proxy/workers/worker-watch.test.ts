import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Clock } from "../../base/clock.ts";
import { createLog } from "../../telemetry/log.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { FakeClock } from "../../../test/support/fake-clock.ts";
import { beatMs, defaultWatchLimits, type WatchLimits, WorkerWatch } from "./worker-watch.ts";

function start(limits: WatchLimits = defaultWatchLimits) {
  const fake = new FakeClock();
  const stopped = { ms: 0 };
  const clock: Clock = {
    nowMs: () => fake.nowMs(),
    monotonicMs: () => fake.monotonicMs() + stopped.ms,
    schedule: (delayMs, task) => fake.schedule(delayMs, task),
  };
  const metrics = createMetricRegistry();
  const lines: string[] = [];
  const said: string[] = [];
  const log = createLog({ level: "info", format: "text", clock, sink: (line) => lines.push(line) });
  const watch = new WorkerWatch({
    clock,
    log,
    metrics,
    limits,
    onHang: () => said.push("hangs"),
  });
  const worker = { number: 2, count: 0 };
  const watched = {
    number: 2,
    beats: () => worker.count,
    onSilent: (isSilent: boolean) => said.push(isSilent ? "silent" : "back"),
    end: () => said.push("ended"),
  };
  watch.watch(watched);
  const pass = (ms: number, doesBeat: boolean): void => {
    for (let at = 0; at < ms; at += beatMs) {
      if (doesBeat) worker.count++;
      fake.advance(beatMs);
    }
  };
  const counted = (name: string): string =>
    new RegExp(`^envoy_workers_watchdog_${name} (\\d+)$`, "m").exec(metrics.expose())?.[1] ?? "";
  return { stopped, watch, watched, pass, counted, lines, said };
}

describe("WorkerWatch", () => {
  test("watch() says nothing of a worker that beats", () => {
    const { pass, counted, lines, said } = start();
    pass(60_000, true);
    assert.deepEqual([counted("miss"), counted("mega_miss"), lines, said], ["0", "0", [], []]);
  });

  test("watch() counts a short silence, and tells of a long one and its end", () => {
    const { pass, counted, lines, said } = start();
    pass(500, false);
    assert.deepEqual([counted("miss"), counted("mega_miss"), said], ["1", "0", []]);
    pass(100, true);
    pass(1500, false);
    assert.deepEqual([counted("miss"), counted("mega_miss"), said], ["2", "1", ["silent"]]);
    pass(100, true);
    assert.deepEqual(said, ["silent", "back"]);
    assert.match(lines.join(""), /does not answer.*worker=2.*\n?.*answers again/s);
  });

  test("watch() ends one that never comes back, and the process where that does not end it", () => {
    const { pass, said } = start();
    pass(12_000, false);
    assert.deepEqual(said, ["silent", "ended"]);
    pass(30_000, false);
    assert.deepEqual(said, ["silent", "ended", "hangs"]);
  });

  test("watch() ends nothing where that is not wanted", () => {
    const { pass, said } = start({ ...defaultWatchLimits, endMs: 0, killMs: 0 });
    pass(60_000, false);
    assert.deepEqual(said, ["silent"]);
  });

  test("watch() does not take a process that was stopped for a worker that hangs", () => {
    const { stopped, pass, counted, said } = start();
    pass(1000, true);
    stopped.ms = 60_000;
    pass(beatMs, false);
    pass(1000, true);
    assert.deepEqual([counted("mega_miss"), said], ["0", []]);
  });

  test("forget() leaves one alone that has ended", () => {
    const { watch, watched, pass, said } = start();
    watch.forget(watched);
    pass(60_000, false);
    watch.close();
    assert.deepEqual(said, []);
  });
});
