/** The console's pages in a real browser, over the real server, a seeded store and a fake control plane. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { shopResources } from "./support/fake-control-plane.ts";
import { consoleToken, shopFlows } from "./support/seed.ts";
import { openVisits, type Shop, type Visit, type Visits } from "./support/visit.ts";

let visits: Visits;
before(async () => {
  visits = await openVisits();
});
after(() => visits.close());
const visit = (shop: Shop, check: (visit: Visit) => Promise<void>): Promise<void> =>
  visits.visit(shop, check);

function edge(page: Page, from: string, to: string): ReturnType<Page["locator"]> {
  return page.locator(`[data-edge*="/${from} > "][data-edge*="/${to} "]`);
}

test("graph shows what was seeded, edge by edge", () =>
  visit({}, async ({ page, open }) => {
    await open("#/");
    await page.waitForSelector("[data-edge]");
    assert.equal(await page.locator("[data-edge]").count(), shopFlows.length);
    const expected = [
      ["loadgen", "istio-ingressgateway", "43/s · 86 ms", "plaintext"],
      ["storefront", "catalog-v1", "54/s · 25 ms", "mutual"],
      ["storefront", "catalog-v2", "6/s · 8.3% · 500 ms", "mutual"],
      ["storefront", "checkout", "6.5/s · 7.7% · 86 ms", "mutual"],
      ["checkout", "payments", "6/s · 17% · 500 ms", "mutual"],
      ["storefront", "offers", "2/s · 24 msg/s", "mutual"],
      ["inventory", "ledger", "3.1 kB/s", "mutual"],
      ["payments", "rates.example.com", "5/s · 500 ms", "unknown"],
    ] as const;
    for (const [from, to, label, mtls] of expected) {
      const found = edge(page, from, to);
      assert.equal(await found.locator("text").textContent(), label, `${from} to ${to}`);
      assert.match((await found.getAttribute("class")) ?? "", new RegExp(`\\b${mtls}\\b`));
    }
    await page.getByText("7 of 10 services healthy, 202 req/s, 1.0% errors").waitFor();
  }));

test("graph follows live traffic without moving a node", () =>
  visit({}, async ({ page, open, metrics, pass }) => {
    await open("#/");
    await page.waitForSelector("[data-edge]");
    const places = () =>
      page
        .locator("[data-node]")
        .evaluateAll((all) => all.map((one) => one.getAttribute("transform")));
    const before = await places();
    metrics.setFlows(
      shopFlows.map((one) => (one.to === "cart" ? { ...one, codes: { 200: 36 } } : one)),
    );
    pass(40);
    await edge(page, "storefront", "cart").getByText("36/s · 25 ms").waitFor();
    assert.deepEqual(await places(), before);
    metrics.setFlows(
      shopFlows.map((one) => (one.to === "cart" ? { ...one, codes: { 200: 18, 503: 18 } } : one)),
    );
    pass(40);
    await edge(page, "storefront", "cart").getByText("36/s · 50% · 25 ms").waitFor();
    assert.match(
      (await page.locator('[data-node$="/cart"]').getAttribute("class")) ?? "",
      /failing/,
    );
  }));

test("graph explains an edge in its details, by mouse and by keyboard", () =>
  visit({}, async ({ page, open }) => {
    await open("#/");
    await edge(page, "checkout", "payments").click();
    const details = page.getByRole("complementary", { name: "Details" });
    await details.getByText("no healthy upstream").waitFor();
    await details.getByText("spiffe://cluster.local/ns/default/sa/payments").waitFor();
    await page.keyboard.press("Escape");
    await details.waitFor({ state: "detached" });
    await page.locator('[data-node$="/cart"]').focus();
    await page.keyboard.press("Enter");
    await details.getByText("Charts of cart").waitFor();
    await page.getByRole("button", { name: "Table" }).click();
    assert.equal(await page.locator("tbody tr").count(), shopFlows.length);
  }));

test("graph filters by namespace", () =>
  visit({}, async ({ page, open }) => {
    await open("#/");
    await page.getByLabel("Namespace").selectOption("istio-system");
    await page.locator('[data-node$="/cart"]').waitFor({ state: "detached" });
    assert.equal(await page.locator("[data-node]").count(), 3);
  }));

test("services lead to a page with charts, callers and workloads", () =>
  visit({}, async ({ page, open }) => {
    await open("#/services");
    await page.getByRole("link", { name: "catalog", exact: true }).click();
    await page.waitForSelector("canvas");
    assert.equal(await page.locator("canvas").count(), 4);
    await page.getByRole("img", { name: /Requests by version: v1 54\/s, v2 6\/s/ }).waitFor();
    await page.getByRole("img", { name: /Requests by code: 200 60\/s, 503 0.50\/s/ }).waitFor();
    await page.getByRole("img", { name: /Latency: p50 6 ms, p95 85 ms, p99 375 ms/ }).waitFor();
    await page.getByRole("cell", { name: "catalog-v2-0" }).waitFor();
  }));

test("a service of TCP alone has a chart of bytes, and none that would stay empty", () =>
  visit({}, async ({ page, open }) => {
    await open("#/services/default/ledger");
    await page.getByRole("img", { name: /TCP bytes: received 1 kB\/s, sent 2 kB\/s/ }).waitFor();
    assert.equal(await page.locator("figure").count(), 1);
  }));

test("a service of gRPC has a chart of messages, and lists tell their rate", () =>
  visit({}, async ({ page, open }) => {
    await open("#/services");
    await page.getByRole("row", { name: /offers default .* 24 msg\/s/ }).waitFor();
    await page.getByRole("link", { name: "offers", exact: true }).click();
    await page
      .getByRole("img", { name: /gRPC messages: by callers 4\/s, by the service 20\/s/ })
      .waitFor();
    await page.getByRole("row", { name: /storefront offers grpc 2\/s 24 msg\/s/ }).waitFor();
  }));

test("a service that does not exist is said not to", () =>
  visit({ expected: /404/ }, async ({ page, open }) => {
    await open("#/services/default/nothing");
    await page.getByText("there is no service nothing in namespace default").waitFor();
  }));

test("proxies show each state, and a refusal with its place", () =>
  visit({}, async ({ page, open }) => {
    await open("#/proxies");
    await page.getByText("mesh/payments.yaml:14:9").waitFor();
    await page.getByText("Only unique values for domains are permitted").waitFor();
    await page.getByText("the stream ended: connection reset").waitFor();
    await page.getByText("has never connected").waitFor();
    assert.equal(await page.locator(".badge.pending").count(), 1);
    await page.getByRole("link", { name: "cart-0" }).click();
    await page.getByText("virtualInbound", { exact: true }).waitFor();
    await page.getByRole("link", { name: "clusters" }).click();
    await page.getByText("outbound|80||cart.default.svc.cluster.local", { exact: true }).waitFor();
  }));

test("configuration shows problems first, with place and remedy, and follows changes", () =>
  visit({}, async ({ page, open, controlPlane, clock }) => {
    await open("#/config");
    const problems = page.getByRole("region", { name: "Problems" });
    await problems.getByText("weights add up to 90, not 100").waitFor();
    await problems.getByText("leave weights out to split evenly").waitFor();
    await problems.getByText("mesh/catalog.yaml:12:5").waitFor();
    await problems.getByRole("link", { name: "VirtualService default/catalog" }).click();
    assert.match((await page.locator(".line.marked").textContent()) ?? "", /subset: v2/);
    controlPlane.change("configuration", { problems: [], resources: shopResources.slice(1) });
    clock.advance(200);
    await problems.waitFor({ state: "detached" });
    await page.getByText("There is no such resource any more").waitFor();
  }));

test("an empty mesh says why there is nothing to see", () =>
  visit({ isEmpty: true }, async ({ page, open }) => {
    await open("#/");
    await page.getByText("Nothing runs yet.").waitFor();
    await open("#/services");
    await page.getByText("No services yet").waitFor();
    await open("#/proxies");
    await page.getByText("No proxies yet").waitFor();
    await open("#/config");
    await page.getByText("No configuration").waitFor();
  }));

test("metrics that cannot be read are said not to be, and the rest is shown", () =>
  visit(
    { metricsFailure: `Prometheus does not answer: ${"x".repeat(300)}`, expected: /502/ },
    async ({ page, open }) => {
      await page.setViewportSize({ width: 390, height: 800 });
      await open("#/?view=graph");
      await page
        .getByRole("alert")
        .getByText("There are no figures: Prometheus does not")
        .waitFor();
      assert.equal(await page.locator("[data-node]").count(), 12);
      await open("#/services/default/cart");
      await page.getByText("This service cannot be shown").waitFor();
      assert.equal(await page.evaluate("document.documentElement.scrollWidth"), 390);
      await open("#/config");
      await page.getByText("weights add up to 90, not 100").first().waitFor();
    },
  ));

test("a console that went away is said to be, and what was seen stays", () =>
  visit(
    { expected: /Failed to load|ERR_|incomplete/i },
    async ({ page, open, console: served }) => {
      await open("#/");
      await page.waitForSelector("[data-edge]");
      await served.close();
      await page.getByRole("alert").getByText("The console does not answer").waitFor();
      assert.equal(await page.locator("[data-edge]").count(), shopFlows.length);
    },
  ));

test("colours follow the system, and the button overrides them for good", () =>
  visit({ browser: { colorScheme: "dark" } }, async ({ page, open }) => {
    await open("#/");
    const theme = (): Promise<string | null> => page.locator("html").getAttribute("data-theme");
    await page.waitForSelector("[data-edge]");
    assert.equal(await theme(), "dark");
    await page.getByRole("button", { name: "Use light colours" }).click();
    assert.equal(await theme(), "light");
    await page.reload();
    await page.waitForSelector("[data-edge]");
    assert.equal(await theme(), "light");
  }));

test("the page may run only its own files", () =>
  visit({ expected: /Content Security Policy/ }, async ({ page, open }) => {
    await open("#/");
    await page.waitForSelector("[data-edge]");
    const ran = await page.evaluate(`(() => {
      const script = document.createElement("script");
      script.textContent = "window.injected = true";
      document.body.append(script);
      return window.injected === true;
    })()`);
    assert.equal(ran, false);
  }));

test("a stranger sees nothing but the way in, and the address that is printed opens it", () =>
  visit({ expected: /401/ }, async ({ page, open }) => {
    await open("#/");
    await page.waitForSelector("[data-edge]");
    await page.evaluate(
      `sessionStorage.setItem("stranger", "yes"); localStorage.removeItem("heddle-token")`,
    );
    await page.reload();
    await page.getByText("This console needs its token").waitFor();
    assert.equal(await page.locator("[data-edge]").count(), 0);
    await page.getByLabel("Or paste the address").fill("wrong");
    await page.keyboard.press("Enter");
    await page.getByText("neither the address nor a token").waitFor();
    await page.getByLabel("Or paste the address").fill(`${page.url()}#token=${consoleToken}`);
    await page.keyboard.press("Enter");
    await page.waitForSelector("[data-edge]");
    await page.evaluate(`localStorage.removeItem("heddle-token")`);
    await open(`#token=${consoleToken}`);
    await page.waitForSelector("[data-edge]");
    assert.doesNotMatch(page.url(), /token/);
    await page.reload();
    await page.waitForSelector("[data-edge]");
  }));
