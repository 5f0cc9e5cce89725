// The shop's page and its API: asks catalog, cart, checkout and inventory on behalf of a visitor.
import { readFileSync } from "node:fs";

import { serve } from "./web.mjs";

const page = readFileSync(new URL("storefront.html", import.meta.url), "utf8");

function idOf(url) {
  return encodeURIComponent(url.searchParams.get("id") ?? "");
}

serve({
  "GET /": () => page,
  "GET /api/products": async ({ call }) => {
    const [catalog, stock] = await Promise.all([
      call("GET", "http://catalog/products"),
      // Without the stock the shop still sells; the page leaves the numbers out.
      call("GET", "http://inventory/stock").catch(() => ({})),
    ]);
    const products = catalog.products.map((one) => ({ ...one, stock: stock[one.sku] }));
    return { version: catalog.version, products };
  },
  "GET /api/product": ({ url, call }) =>
    call(
      "GET",
      `http://catalog/product?sku=${encodeURIComponent(url.searchParams.get("sku") ?? "")}`,
    ),
  "GET /api/cart": ({ url, call }) => call("GET", `http://cart/cart?id=${idOf(url)}`),
  "POST /api/cart": ({ url, body, call }) => call("POST", `http://cart/cart?id=${idOf(url)}`, body),
  "POST /api/checkout": ({ url, call }) => call("POST", `http://checkout/checkout?id=${idOf(url)}`),
  // The one call that leaves the mesh.
  "GET /api/about": async ({ call }) => {
    const text = String(await call("GET", "http://example.com/"));
    return { outside: /<title>(.*?)<\/title>/.exec(text)?.[1] ?? "reached" };
  },
});
