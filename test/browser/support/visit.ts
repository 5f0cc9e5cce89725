/** A real browser at the real console, over a seeded store and a fake control plane. */
import assert from "node:assert/strict";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { HeddleError } from "../../../src/base/error.ts";
import { openConsolePages } from "../../../src/cli/console-pages.ts";
import { type Console, startConsole } from "../../../src/console/console.ts";
import type { ConsoleMetrics } from "../../../src/console/views.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { silentLog } from "../../support/silent-log.ts";
import { launchBrowser } from "./browser.ts";
import {
  type FakeControlPlane,
  fakeControlPlane,
  shopProblems,
  shopProxies,
  shopResources,
} from "./fake-control-plane.ts";
import { fakeProxyAdmin } from "./fake-proxy-admin.ts";
import { consoleToken, type SeededMetrics, seedMetrics, seedStepMs, shopSnapshot } from "./seed.ts";

const ui = join(import.meta.dirname, "../../../ui/dist");
const startMs = 1_795_000_000_000;

/** One console and one page; complaints of the page fail the test. */
export interface Visit {
  readonly page: Page;
  readonly console: Console;
  readonly clock: FakeClock;
  readonly metrics: SeededMetrics;
  readonly controlPlane: FakeControlPlane;
  readonly open: (hash: string) => Promise<void>;
  /** Lets mesh time pass: samples are taken and live views turn. */
  readonly pass: (turns: number) => void;
}

export interface Shop {
  readonly isEmpty?: boolean;
  /** Why the metrics cannot be read. */
  readonly metricsFailure?: string;
  readonly browser?: BrowserContextOptions;
  /** Complaints that this visit provokes on purpose. */
  readonly expected?: RegExp;
}

/** Opens the browser for a file's visits: `const visit = await openVisits()`. */
export async function openVisits(): Promise<Visits> {
  const outcome = await openConsolePages();
  assert.doesNotMatch(outcome ?? "", /could not/);
  const browser = await launchBrowser();
  return {
    visit: (shop, check) => visit(browser, shop, check),
    close: () => browser.close(),
  };
}

export interface Visits {
  readonly visit: (shop: Shop, check: (visit: Visit) => Promise<void>) => Promise<void>;
  readonly close: () => Promise<void>;
}

async function visit(
  browser: Browser,
  shop: Shop,
  check: (visit: Visit) => Promise<void>,
): Promise<void> {
  const clock = new FakeClock(startMs);
  const metrics = seedMetrics(startMs, shop.isEmpty === true ? -1 : 1_200_000);
  const workloads = shopSnapshot();
  const controlPlane = fakeControlPlane(
    shop.isEmpty === true
      ? { workloads: undefined, problems: [], resources: [], proxies: [] }
      : {
          workloads,
          problems: shopProblems,
          resources: shopResources,
          proxies: shopProxies(workloads, startMs),
        },
  );
  const served = await startConsole({
    mesh: "shop",
    version: "0.0.0",
    listen: { address: "127.0.0.1", port: 0 },
    token: consoleToken,
    controlPlane,
    metrics: shop.metricsFailure === undefined ? metrics : failing(metrics, shop.metricsFailure),
    stateDir: "/nonexistent",
    log: silentLog,
    clock,
    request: fakeProxyAdmin,
    ui,
  });
  const context = await browser.newContext({
    viewport: { width: 1440, height: 860 },
    ...shop.browser,
  });
  const page = await context.newPage();
  await page.addInitScript(
    `sessionStorage.getItem("stranger") ?? localStorage.setItem("heddle-token", "${consoleToken}")`,
  );
  const complaints: string[] = [];
  page.on("console", (message) => {
    const isComplaint = message.type() === "error" || message.type() === "warning";
    if (isComplaint && shop.expected?.test(message.text()) !== true)
      complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(`http://localhost:${served.address?.port}/`)) {
      complaints.push(`asked another site: ${request.url()}`);
    }
  });
  try {
    await check({
      page,
      console: served,
      clock,
      metrics,
      controlPlane,
      open: async (hash) => {
        await page.goto(`http://localhost:${served.address?.port}/${hash}`);
      },
      pass: (turns) => {
        for (let turn = 0; turn < turns; turn++) {
          metrics.advance(clock.nowMs() + seedStepMs);
          clock.advance(seedStepMs);
        }
      },
    });
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
    await served.close();
  }
}

function failing(metrics: SeededMetrics, why: string): ConsoleMetrics {
  const fail = (): Promise<never> => Promise.reject(new HeddleError("metrics.unreachable", why));
  const source = {
    ...metrics.source,
    name: "http://prometheus:9090",
    query: fail,
    queryRange: fail,
  };
  return { ...metrics, source, health: () => undefined };
}
