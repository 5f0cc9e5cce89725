/**
 * What every page of the console owes its reader, whatever it shows: it fits the screen, its words can
 * be read, its address says what is shown, and it can be used without a mouse.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import type { Page } from "playwright-core";
import { openVisits, type Visits } from "./support/visit.ts";

let visits: Visits;
before(async () => {
  visits = await openVisits();
});
after(() => visits.close());

/** Every page with something on it to wait for. */
const pages: Readonly<Record<string, string>> = {
  "#/?view=graph": "[data-edge]",
  "#/?view=table": "tbody tr",
  "#/services": "tbody tr",
  "#/services/default/catalog": "canvas",
  "#/proxies": "tbody tr",
  "#/proxies/payments-0.default/clusters": "details",
  "#/config": ".problems li",
  "#/config/VirtualService/default/catalog": ".marked",
};

test("no page is wider than the screen, from a telephone to a wall", () =>
  visits.visit({}, async ({ page, open }) => {
    for (const width of [390, 768, 1280, 1920]) {
      await page.setViewportSize({ width, height: 800 });
      for (const [hash, mark] of Object.entries(pages)) {
        await open(hash);
        await page.locator(mark).first().waitFor();
        const beyond = await page.evaluate(
          `Math.max(document.documentElement.scrollWidth - innerWidth, (main => main.scrollWidth - main.clientWidth)(document.querySelector("main")))`,
        );
        assert.equal(beyond, 0, `${hash} at ${width} px`);
      }
    }
  }));

/** Words whose contrast with what is behind them is below WCAG 2 AA, with the ratio. */
const pale = `(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = "#000";
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((part, i) => part * a + under[i] * (1 - a));
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => {
      const c = part / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const frame = element instanceof SVGElement && element.parentElement?.querySelector(":scope > .frame");
    if (frame) return over(rgba(getComputedStyle(frame).fill), behind(element.closest("svg").parentElement));
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const colour = rgba(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.toReversed().reduce((under, layer) => over(layer, under), [255, 255, 255]);
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].filter((one) => one.nodeType === 3 && one.textContent.trim() !== "");
    if (words.length === 0 || element.closest("title, .visually-hidden, .skip, option, script")) continue;
    const style = getComputedStyle(element);
    if (style.visibility === "hidden" || element.getClientRects().length === 0) continue;
    const ground = behind(element);
    const ink = over(rgba(element instanceof SVGElement ? style.fill : style.color), ground);
    const [a, b] = [light(ink), light(ground)].toSorted((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const isLarge = parseFloat(style.fontSize) >= 24;
    if (ratio < (isLarge ? 3 : 4.5)) found.push(words[0].textContent.trim().slice(0, 30) + " " + ratio.toFixed(2));
  }
  return [...new Set(found)];
})()`;

for (const colorScheme of ["light", "dark"] as const) {
  test(`every word can be read (WCAG AA), ${colorScheme}`, () =>
    visits.visit({ browser: { colorScheme } }, async ({ page, open }) => {
      for (const [hash, mark] of Object.entries(pages)) {
        await open(hash);
        await page.locator(mark).first().waitFor();
        assert.deepEqual(await page.evaluate(pale), [], hash);
      }
    }));
}

test("whatever can be used has a name, and shows when the keyboard is on it", () =>
  visits.visit({}, async ({ page, open }) => {
    for (const [hash, mark] of Object.entries(pages)) {
      await open(hash);
      await page.locator(mark).first().waitFor();
      const nameless = await page.evaluate(`(() => {
        const usable = "a[href], button, input, select, summary, [tabindex='0']";
        const nameOf = (one) => one.getAttribute("aria-label") ?? ([...(one.labels ?? [])].map((label) => label.textContent).join("") + (one.textContent ?? ""));
        return [...document.querySelectorAll(usable)].filter((one) => nameOf(one).trim() === "").map((one) => one.outerHTML.slice(0, 80));
      })()`);
      assert.deepEqual(nameless, [], hash);
      await page.keyboard.press("Tab");
      for (let presses = 0; presses < 14; presses++) {
        await page.keyboard.press("Tab");
        assert.equal(await page.evaluate(isFocusSeen), "", hash);
      }
    }
  }));

/** Empty when the focused element differs from itself without focus, else what it is. */
const isFocusSeen = `(() => {
  const one = document.activeElement;
  if (one === null || one === document.body) return "";
  const looks = () => [one, one.querySelector(".frame")].filter(Boolean).map((part) => {
    const { outlineStyle, outlineWidth, stroke, strokeWidth } = getComputedStyle(part);
    return [outlineStyle, outlineWidth, stroke, strokeWidth].join(" ");
  }).join();
  const focused = looks();
  one.blur();
  const plain = looks();
  one.focus({ focusVisible: true });
  return focused === plain ? one.outerHTML.slice(0, 100) : "";
})()`;

test("an edge says in words what its label says in figures", () =>
  visits.visit({}, async ({ page, open }) => {
    await open("#/");
    await page
      .getByRole("button", {
        name: "storefront to catalog-v2: 6 requests per second, 8.3% errors, 95th percentile 500 ms, degraded, mutual TLS",
      })
      .waitFor();
    await page
      .getByRole("button", { name: /^inventory to ledger: 3.1 kB per second over TCP/ })
      .waitFor();
  }));

test("the address keeps page and filters, and the back button goes back through them", () =>
  visits.visit({}, async ({ page, open }) => {
    await open("#/");
    await page.waitForSelector("[data-edge]");
    assert.equal(await page.title(), "Graph · shop · Heddle");
    await page.getByLabel("Namespace").selectOption("istio-system");
    await page.getByLabel("Over the last").selectOption("5m");
    await page.getByRole("button", { name: "Table" }).click();
    assert.match(page.url(), /#\/\?namespace=istio-system&window=5m&view=table$/);
    await page.reload();
    await page.locator("tbody tr").first().waitFor();
    assert.equal(await page.getByLabel("Namespace").inputValue(), "istio-system");
    assert.equal(await page.getByLabel("Over the last").inputValue(), "5m");
    await page.goBack();
    await page.waitForSelector("[data-edge]");
    await open("#/services");
    await page.getByLabel("Filter services by name").fill("cat");
    assert.equal(await page.locator("tbody tr").count(), 1);
    await page.getByRole("link", { name: "catalog", exact: true }).click();
    await page.waitForSelector("canvas");
    assert.equal(await page.title(), "catalog, service · shop · Heddle");
    await page.getByRole("button", { name: "hour", exact: true }).click();
    assert.match(page.url(), /catalog\?range=1h$/);
    await page.goBack();
    await page.goBack();
    await page.locator("tbody tr").first().waitFor();
    assert.equal(await page.getByLabel("Filter services by name").inputValue(), "cat");
    assert.equal(await page.title(), "Services · shop · Heddle");
  }));

test("the way past the header leads into the page, not away from it", () =>
  visits.visit({}, async ({ page, open }) => {
    await open("#/proxies");
    await page.locator("tbody tr").first().waitFor();
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    assert.equal(await focusedId(page), "main");
    assert.match(page.url(), /#\/proxies$/);
  }));

test("a chart tells the figures of the moment under the pointer", () =>
  visits.visit({}, async ({ page, open }) => {
    await open("#/services/default/catalog");
    const plot = page.getByRole("img", { name: /^Latency/ });
    await plot.waitFor();
    const legends = page.locator("figure .legend");
    const before = await legends.allTextContents();
    const box = await plot.boundingBox();
    assert.ok(box !== null);
    await page.mouse.move(box.x + box.width / 3, box.y + box.height / 2);
    await legends
      .nth(1)
      .getByText(/^\d\d:\d\d:\d\d$/)
      .waitFor();
    // All charts of the page tell the same moment.
    const times = await page.getByText(/^\d\d:\d\d:\d\d$/).allTextContents();
    assert.equal(times.length, before.length);
    assert.equal(new Set(times).size, 1);
    await page.mouse.move(0, 0);
    await legends
      .nth(1)
      .getByText(/^\d\d:\d\d:\d\d$/)
      .waitFor({ state: "detached" });
  }));

async function focusedId(page: Page): Promise<unknown> {
  return await page.evaluate("document.activeElement?.id");
}
