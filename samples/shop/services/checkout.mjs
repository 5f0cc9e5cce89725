// Turns a cart into an order: reserve the stock, charge the card, write it down, empty the cart.
import { randomUUID } from "node:crypto";

import { query } from "./orders-client.mjs";
import { HttpError, serve } from "./web.mjs";

serve({
  "POST /checkout": async ({ url, call }) => {
    const id = encodeURIComponent(url.searchParams.get("id") ?? "");
    const { lines } = await call("GET", `http://cart/cart?id=${id}`);
    if (lines.length === 0) throw new HttpError(409, "the cart is empty");
    const order = randomUUID();
    const skus = lines.map((line) => line.sku);
    await call("POST", "http://inventory/reserve", { order, skus });
    const amount = lines.reduce((sum, line) => sum + line.price, 0);
    try {
      await call("POST", "http://payments/charge", { order, amount });
    } catch (error) {
      await call("POST", "http://inventory/release", { order, skus });
      throw error;
    }
    await query(`INSERT INTO orders VALUES ('${order}', '${amount.toFixed(2)}')`);
    await call("DELETE", `http://cart/cart?id=${id}`);
    return { order, amount, items: lines.length };
  },
  "GET /orders": async () => {
    const [[count]] = await query("SELECT count(*) FROM orders");
    return { orders: Number(count) };
  },
});
