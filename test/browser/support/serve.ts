/**
 * The console alone, over a seeded shop: `node test/browser/support/serve.ts [PORT]`. For working on
 * the pages, and for the picture in the README.
 */
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { startConsole } from "../../../src/console/console.ts";
import { silentLog } from "../../support/silent-log.ts";
import {
  fakeControlPlane,
  shopProblems,
  shopProxies,
  shopResources,
} from "./fake-control-plane.ts";
import { fakeProxyAdmin } from "./fake-proxy-admin.ts";
import { consoleToken, seedMetrics, seedStepMs, shopSnapshot } from "./seed.ts";

const nowMs = Date.now();
const metrics = seedMetrics(nowMs, 1_200_000);
const workloads = shopSnapshot();
const controlPlane = fakeControlPlane({
  workloads,
  problems: shopProblems,
  resources: shopResources,
  proxies: shopProxies(workloads, nowMs),
});
setInterval(() => metrics.advance(Date.now()), seedStepMs);
const served = await startConsole({
  mesh: "shop",
  version: "0.1.0",
  listen: { address: "127.0.0.1", port: Number(process.argv[2] ?? 0) },
  token: consoleToken,
  controlPlane,
  metrics,
  stateDir: "/nonexistent",
  log: silentLog,
  clock: systemClock,
  request: fakeProxyAdmin,
  ui: join(import.meta.dirname, "../../../ui/dist"),
});
console.log(`http://localhost:${served.address?.port}/#token=${consoleToken}`);
