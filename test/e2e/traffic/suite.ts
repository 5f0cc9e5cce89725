/** One mesh for each mode, and everything that traffic must do in it. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe } from "node:test";

import type { SidecarOptions } from "../../../src/base/sidecar-options.ts";
import { type MeshMode, meshModes } from "../support/mesh.ts";
import { startTraffic, type Traffic } from "../support/traffic.ts";
import { agreementTests } from "./agreement.ts";
import { balancingTests } from "./balancing.ts";
import { gatewayTests } from "./gateway.ts";
import { http1Tests } from "./http1.ts";
import { linkTests } from "./links.ts";
import { logTests } from "./logs.ts";
import { nameTests } from "./names.ts";
import { outsideTests } from "./outside.ts";
import { streamTests } from "./streams.ts";

/** How sidecars of Heddle's serve, where not as by default. */
export interface Serving {
  readonly io?: "portable";
  /** Data workers; the tests know what that changes. */
  readonly workers?: number;
}

export function trafficSuite(
  dataPlane: "heddle" | "envoy",
  modes: readonly MeshMode[] = meshModes,
  serving: Serving = {},
): void {
  const { io, workers } = serving;
  const how = [dataPlane, io, workers === undefined ? undefined : `${workers} workers`];
  const environment = {
    ...(io === undefined ? {} : { HEDDLE_IO: io }),
    ...(workers === undefined ? {} : { HEDDLE_CONCURRENCY: String(workers) }),
  };
  for (const mode of modes) {
    describe(`traffic, ${mode}, ${how.filter((word) => word !== undefined).join(", ")}`, () => {
      let traffic: Traffic | undefined;
      before(async () => {
        traffic = await startTraffic({ mode, dataPlane, environment });
        assertServing(traffic, serving);
        // A thread's first request takes as long as compiling what serves it does: not of the time that
        // the requests below have.
        if (workers !== undefined) await traffic.many({ host: "web", path: "/" }, 32, 8);
      });
      after(async () => {
        await traffic?.stop();
      });
      const running = (): Traffic => {
        if (traffic === undefined) throw new Error("the mesh did not start");
        return traffic;
      };
      agreementTests(running);
      balancingTests(running, workers ?? 1);
      http1Tests(running);
      streamTests(running);
      gatewayTests(running);
      nameTests(running);
      outsideTests(running);
      logTests(running);
      // Last: it looks at all that the others have sent.
      if (mode !== "explicit") linkTests(running);
    });
  }
}

/** What the suite asks for is what its sidecars do, or it would pass for nothing. */
function assertServing({ mesh }: Traffic, { io, workers }: Serving): void {
  const file = join(mesh.stateDir, "i", "client-0.default", "options.json");
  const options: SidecarOptions = JSON.parse(readFileSync(file, "utf8"));
  assert.equal(options.io, io);
  if (workers === undefined) return;
  const tasks = `/proc/${mesh.workload("client-0").sidecarPid}/task`;
  const threads = readdirSync(tasks).map((id) => readFileSync(join(tasks, id, "comm"), "utf8"));
  assert.equal(threads.filter((name) => name.startsWith("data-")).length, workers);
}
