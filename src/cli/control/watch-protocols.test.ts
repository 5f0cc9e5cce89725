import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import type { SeenProtocol } from "../../control/control-view.ts";
import { createLog } from "../../telemetry/log.ts";
import { watchProtocols } from "./watch-protocols.ts";

test("watchProtocols() tells what was counted, also once, and forgets what is not counted any more", async () => {
  const clock = new FakeClock();
  const log = createLog({ level: "error", format: "text", clock, sink: () => {} });
  let count: number | undefined = 1;
  let told: readonly SeenProtocol[] = [];
  const labels = { destination: "198.19.0.5:9000", seen: "http/1.1" };
  const stop = watchProtocols({
    clock,
    log,
    controlPlane: { setSeenProtocols: (seen) => (told = seen) },
    metrics: {
      source: {
        query: async (_, atMs) => {
          if (count === undefined) throw new Error("away");
          const samples = count === 0 ? [] : [{ labels, value: count }];
          return { kind: "vector", atMs, samples };
        },
      },
    },
  });
  const pass = async (seconds: number): Promise<void> => {
    for (let passed = 0; passed < seconds; passed += 5) {
      clock.advance(5000);
      await new Promise(setImmediate);
    }
  };
  await pass(5);
  assert.deepEqual(told, [labels]);
  await pass(200);
  count = 2;
  await pass(200);
  assert.equal(told.length, 1, "seen again");
  count = undefined;
  await pass(50);
  assert.equal(told.length, 1, "nothing is known of this moment");
  count = 2;
  await pass(100);
  assert.equal(told.length, 0);
  await stop();
});
