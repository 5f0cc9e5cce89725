// What is for sale. Version 2 adds ratings and takes a little longer.
import { setTimeout as pause } from "node:timers/promises";

import { products } from "./products.mjs";
import { HttpError, serve } from "./web.mjs";

const version = process.env.CATALOG_VERSION ?? "v1";

function describe(product) {
  if (version === "v1") return { ...product, version };
  const rating = 3 + ((product.name.length * 7) % 20) / 10;
  return { ...product, version, rating };
}

async function think() {
  await pause(version === "v1" ? 1 + Math.random() * 4 : 3 + Math.random() * 12);
}

serve({
  "GET /products": async () => {
    await think();
    return { version, products: products.map(describe) };
  },
  "GET /product": async ({ url }) => {
    await think();
    const product = products.find((one) => one.sku === url.searchParams.get("sku"));
    if (product === undefined) throw new HttpError(404, "no such product");
    return describe(product);
  },
});
