// Carts, in memory: the oldest are forgotten when there are too many.
import { products } from "./products.mjs";
import { HttpError, serve } from "./web.mjs";

const cartsMax = 10_000;
const linesMax = 50;
const carts = new Map();

function cartOf(url) {
  const id = url.searchParams.get("id") ?? "";
  if (!/^[\w-]{1,64}$/.test(id)) throw new HttpError(400, "id must be 1 to 64 letters or digits");
  return id;
}

serve({
  "GET /cart": ({ url }) => ({ lines: carts.get(cartOf(url)) ?? [] }),
  "POST /cart": async ({ url, body, call }) => {
    const id = cartOf(url);
    const sku = String(body?.sku ?? "");
    if (!products.some((product) => product.sku === sku))
      throw new HttpError(400, "no such product");
    const product = await call("GET", `http://catalog/product?sku=${sku}`);
    const lines = [...(carts.get(id) ?? []), { sku, name: product.name, price: product.price }];
    if (lines.length > linesMax) throw new HttpError(409, "the cart is full");
    carts.delete(id);
    carts.set(id, lines);
    if (carts.size > cartsMax) carts.delete(carts.keys().next().value);
    return { lines };
  },
  "DELETE /cart": ({ url }) => {
    carts.delete(cartOf(url));
    return { lines: [] };
  },
});
