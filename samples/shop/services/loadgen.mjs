// Behaves like people: they arrive at random (Poisson), look around, think, some buy, some leave.
// ARRIVALS_PER_SECOND (default 2) sets how many come.
import { randomUUID } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";

import { products } from "./products.mjs";
import { call } from "./web.mjs";

const arrivalsPerSecond = Number(process.env.ARRIVALS_PER_SECOND ?? 2);
const thinkSeconds = Number(process.env.THINK_SECONDS ?? 1.2);
const visitorsMax = 200;
const shop = process.env.SHOP_URL ?? "http://storefront";
let visitors = 0;
const seen = { requests: 0, failed: 0, orders: 0 };

/** Exponentially distributed: gaps between arrivals that know nothing of each other. */
function exponential(mean) {
  return -Math.log(1 - Math.random()) * mean;
}

async function think() {
  await pause(Math.min(exponential(thinkSeconds), thinkSeconds * 5) * 1000);
}

async function visit() {
  const id = randomUUID();
  const headers = Math.random() < 0.05 ? { "x-user": "beta" } : {};
  const ask = async (method, path, body) => {
    seen.requests += 1;
    try {
      return await call(method, `${shop}${path}`, body, headers);
    } catch {
      seen.failed += 1; // people shrug and go on
      return undefined;
    }
  };
  await ask("GET", "/");
  await ask("GET", "/api/products");
  while (Math.random() < 0.7) {
    await think();
    const product = products[Math.floor(Math.random() * products.length)];
    await ask("GET", `/api/product?sku=${product.sku}`);
    if (Math.random() < 0.3) await ask("GET", "/api/offers");
    if (Math.random() < 0.2) await ask("POST", `/api/haggle?sku=${product.sku}`);
    if (Math.random() < 0.5) await ask("POST", `/api/cart?id=${id}`, { sku: product.sku });
  }
  if (Math.random() < 0.6) {
    await think();
    const { lines = [] } = (await ask("GET", `/api/cart?id=${id}`)) ?? {};
    if (lines.length === 0) return;
    await think();
    if ((await ask("POST", `/api/checkout?id=${id}`)) !== undefined) seen.orders += 1;
  }
}

for (const signal of ["SIGTERM", "SIGINT"]) process.once(signal, () => process.exit(0));
setInterval(() => console.log(JSON.stringify({ visitors, ...seen })), 10_000);

for (;;) {
  await pause(exponential(1 / arrivalsPerSecond) * 1000);
  if (visitors >= visitorsMax) continue;
  visitors += 1;
  void visit().finally(() => {
    visitors -= 1;
  });
}
