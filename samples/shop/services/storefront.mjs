// The shop's page and its API: asks catalog, cart, checkout, inventory and offers for a visitor.
import { readFileSync } from "node:fs";

import { tellCounts } from "./counts.mjs";
import { callGrpc, messageCounts } from "./grpc.mjs";
import { HttpError, serve, traceOf } from "./web.mjs";

const offers = { address: process.env.OFFERS_ADDR ?? "offers:9090", authority: "offers:9090" };
const roundsMax = 8;

tellCounts(messageCounts);

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
  // A stream of offers: one question, several answers.
  "GET /api/offers": async ({ url, headers }) => {
    const take = Number(url.searchParams.get("take") ?? 5);
    const found = [];
    const questions = [{ take }];
    const to = { ...offers, path: "/shop.Offers/Follow", headers: traceOf(headers) };
    await callGrpc(
      to,
      () => questions.shift(),
      (offer) => found.push(offer),
    );
    return { offers: found };
  },
  // Both sides talk: a bid, an answer, a better bid, until it is sold.
  "POST /api/haggle": async ({ url, headers }) => {
    const sku = url.searchParams.get("sku") ?? "";
    if (!/^[a-z]{1,20}$/.test(sku)) throw new HttpError(400, "sku must be a product's name");
    const talk = [];
    const next = (said) => {
      if (said?.sold === true || talk.length >= roundsMax) return undefined;
      return { sku, bid: said === undefined ? 1 : said.ask * (0.8 + talk.length / 20) };
    };
    const to = { ...offers, path: "/shop.Offers/Haggle", headers: traceOf(headers) };
    await callGrpc(to, next, (said) => talk.push(said));
    return { sold: talk.at(-1)?.sold === true, price: talk.at(-1)?.ask, rounds: talk.length };
  },
  // The one call that leaves the mesh.
  "GET /api/about": async ({ call }) => {
    const text = String(await call("GET", "http://example.com/"));
    return { outside: /<title>(.*?)<\/title>/.exec(text)?.[1] ?? "reached" };
  },
});
