/** The README's picture of the console, from the seeded shop: `node test/browser/support/picture.ts FILE`. */
import { join } from "node:path";
import { startConsole } from "../../../src/console/console.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { silentLog } from "../../support/silent-log.ts";
import { launchBrowser } from "./browser.ts";
import { fakeControlPlane, shopProxies, shopResources } from "./fake-control-plane.ts";
import { fakeProxyAdmin } from "./fake-proxy-admin.ts";
import { consoleToken, seedMetrics, shopSnapshot } from "./seed.ts";

const [file = "docs/images/console.png"] = process.argv.slice(2);
const clock = new FakeClock(1_795_000_000_000);
const workloads = shopSnapshot();
const served = await startConsole({
  mesh: "shop",
  version: "0.1.0",
  listen: { address: "127.0.0.1", port: 0 },
  token: consoleToken,
  controlPlane: fakeControlPlane({
    workloads,
    problems: [],
    resources: shopResources,
    proxies: shopProxies(workloads, clock.nowMs()),
  }),
  metrics: seedMetrics(clock.nowMs(), 1_200_000),
  stateDir: "/nonexistent",
  log: silentLog,
  clock,
  request: fakeProxyAdmin,
  ui: join(import.meta.dirname, "../../../ui/dist"),
});
const browser = await launchBrowser();
const page = await browser.newPage({
  viewport: { width: 1360, height: 600 },
  deviceScaleFactor: 1.5,
});
await page.goto(`http://localhost:${served.address?.port}/#token=${consoleToken}`);
await page.waitForSelector("[data-edge]");
await page.screenshot({ path: file });
await browser.close();
await served.close();
