/**
 * The console over a real mesh: a known number of requests, some of them failing, some without mTLS,
 * and the live graph of a real browser shows just that. HEDDLE_PICTURES=FOLDER keeps what it looks like.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import type { Browser, Page } from "playwright-core";

import { openConsolePages } from "../../src/cli/console-pages.ts";
import type { GraphAnswer, GraphEdge } from "../../src/console/api.ts";
import { askConsole, eventually, meshModes, type TestMesh } from "../e2e/support/mesh.ts";
import {
  type DataPlane,
  dataPlanes,
  drive,
  echoOf,
  startMetricsMesh,
  type Step,
} from "../e2e/support/metrics-mesh.ts";
import { launchBrowser } from "./support/browser.ts";

const mode = meshModes[0] ?? "explicit";
/** The graph's window, and what the mesh must have seen of it for rates to be exact. */
const windowSeconds = 60;

const sent = { ok: 540, failed: 60, plain: 120, gateway: 60, echoed: 30, echoBytes: 2000 };

function stepsFor(mesh: TestMesh, share: number): readonly Step[] {
  const count = (all: number): number => Math.max(1, Math.round(all * share));
  return [
    { url: "http://server/status/200", count: count(sent.ok), concurrency: 4 },
    { url: "http://server/status/503", count: count(sent.failed), concurrency: 4 },
    { url: "http://plain/status/200", count: count(sent.plain), concurrency: 4 },
    { tcp: echoOf(mesh, "server"), count: count(sent.echoed), bytes: sent.echoBytes },
  ];
}

let browser: Browser;
before(async () => {
  const outcome = await openConsolePages();
  assert.doesNotMatch(outcome ?? "", /could not/);
  browser = await launchBrowser();
});
after(() => browser.close());

// At the same time: each waits for a minute until its window is full.
describe("the live graph", { concurrency: dataPlanes.length }, () => {
  for (const dataPlane of dataPlanes) liveGraph(dataPlane);
});

function liveGraph(dataPlane: DataPlane): void {
  describe(`the live graph of a real mesh, ${mode}, ${dataPlane}`, { concurrency: 1 }, () => {
    let mesh: TestMesh;
    let page: Page;
    const complaints: string[] = [];

    before(async () => {
      mesh = await startMetricsMesh({ mode, dataPlane });
      page = await browser.newPage({ viewport: { width: 1360, height: 700 } });
      page.on("pageerror", (error) => complaints.push(error.message));
      page.on("console", (message) => {
        if (message.type() === "error") complaints.push(message.text());
      });
      await send(mesh);
      await page.goto(mesh.consoleUrl);
      await page.waitForSelector("[data-edge]");
    });
    after(async () => {
      await page.close();
      await mesh.stop();
    });

    const graph = async (): Promise<GraphAnswer> => {
      const answer = await askConsole(mesh, "/api/graph");
      const value: GraphAnswer = JSON.parse(await answer.text());
      return value;
    };

    test("its edges tell rates, errors and locks of what was sent", async () => {
      let wrong: unknown;
      // The store scrapes once a second, and each sidecar at another moment.
      await eventually(
        "the graph has everything",
        async () => {
          const { edges } = await graph();
          try {
            judge(edges);
            return true;
          } catch (thrown) {
            wrong = thrown;
            return false;
          }
        },
        20_000,
      ).catch(() => {
        throw wrong;
      });
    });

    test("the page shows the same figures, and a lock where mTLS holds", async () => {
      await eventually("four edges", async () => (await page.locator("[data-edge]").count()) === 4);
      const label = async (from: string, to: string): Promise<readonly [string, string]> => {
        const found = page.locator(`[data-edge*="/${from} > "][data-edge*="/${to} http"]`);
        const text = (await found.locator("text").textContent()) ?? "";
        return [text, (await found.getAttribute("class")) ?? ""];
      };
      const told = async (service: string, text: RegExp, lock: RegExp): Promise<void> => {
        let shown: readonly [string, string] = ["", ""];
        await eventually(`the edge to ${service}`, async () => {
          shown = await label("client", service);
          return text.test(shown[0]) && lock.test(shown[1]);
        }).catch(() => {
          assert.match(shown[0], text);
          assert.match(shown[1], lock);
        });
      };
      const tenEachSecond = /^(?:9\.[5-9]\d?|10|10\.[0-5]\d?)\/s · (?:10|9\.[5-9]|10\.[0-5])% · /;
      await told("server", tenEachSecond, /\bmutual\b/);
      await told("plain", /^(?:2|1\.9\d?|2\.[01]\d?)\/s · [\d.]+ m?s$/, /\bplaintext\b/);
      await keepPictures(page, dataPlane);
      assert.deepEqual(complaints, []);
    });
  });
}

/** Throws what is not as it was sent. */
function judge(shown: readonly GraphEdge[]): void {
  const http = find(shown, "client", "server", "http");
  assertNear(http?.traffic.requestsPerSecond, sent.ok + sent.failed, "requests to server");
  assertNear(http?.codes["503"], sent.failed, "failed requests to server");
  assertNear(http?.traffic.errorFraction, sent.failed / (sent.ok + sent.failed), "errors", 1);
  assert.equal(http?.mtls, "mutual");
  const plain = find(shown, "client", "plain", "http");
  assertNear(plain?.traffic.requestsPerSecond, sent.plain, "requests to plain");
  assert.equal(plain?.traffic.errorFraction, 0);
  assert.equal(plain?.mtls, "plaintext");
  const gateway = find(shown, "istio-ingressgateway", "server", "http");
  assertNear(gateway?.traffic.requestsPerSecond, sent.gateway, "requests through the gateway");
  assert.equal(gateway?.mtls, "mutual");
  const tcp = find(shown, "client", "server", "tcp");
  assertNear(tcp?.traffic.tcpSentBytesPerSecond, sent.echoed * sent.echoBytes, "bytes sent");
  const received = tcp?.traffic.tcpReceivedBytesPerSecond;
  assertNear(received, sent.echoed * sent.echoBytes, "bytes received");
  assert.equal(tcp?.mtls, "mutual");
  assert.equal(shown.length, 4, shown.map((one) => one.id).join("\n"));
}

/** A first request of each kind, so that every series exists; then, a window later, all of it. */
async function send(mesh: TestMesh): Promise<void> {
  const throughGateway = async (): Promise<void> => {
    const answer = await fetch(`${mesh.gatewayUrls[0]}status/200`);
    await answer.text();
  };
  await drive(mesh, stepsFor(mesh, 0));
  await throughGateway();
  // A rate is exact once the samples fill its window.
  await pause((windowSeconds + 2) * 1000);
  const outcomes = await drive(mesh, stepsFor(mesh, 1));
  assert.deepEqual(outcomes, { 200: sent.ok + sent.plain, 503: sent.failed, echoed: sent.echoed });
  for (let i = 0; i < sent.gateway; i++) await throughGateway();
  // Envoy merges its histograms once a second, and the store scrapes as often.
  await pause(4000);
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

// oxlint-disable-next-line max-params -- reads as a sentence
function find(
  edges: readonly GraphEdge[],
  from: string,
  to: string,
  protocol: GraphEdge["protocol"],
): GraphEdge | undefined {
  return edges.find(
    (one) =>
      one.source.endsWith(`/${from}`) && one.target.endsWith(`/${to}`) && one.protocol === protocol,
  );
}

function near(value: number, wanted: number): boolean {
  // Samples do not lie on the window's borders: Prometheus's rate is a few per cent off.
  return Math.abs(value - wanted) <= wanted * 0.05;
}

// oxlint-disable-next-line max-params -- reads as a sentence
function assertNear(
  perSecond: number | undefined,
  wanted: number,
  what: string,
  seconds: number = windowSeconds,
): void {
  const value = (perSecond ?? 0) * seconds;
  assert(near(value, wanted), `${what}: ${value}, not ${wanted}`);
}

async function keepPictures(page: Page, dataPlane: DataPlane): Promise<void> {
  // oxlint-disable-next-line node/no-process-env -- a person's wish, not configuration
  const folder = process.env["HEDDLE_PICTURES"];
  if (folder === undefined) return;
  for (const colorScheme of ["light", "dark"] as const) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path: join(folder, `live-${dataPlane}-${colorScheme}.png`) });
  }
}
