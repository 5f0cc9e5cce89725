// Offers over gRPC: Follow streams today's offers to a caller, Haggle is a talk in both directions.
// How many messages went each way is counted and logged.
import { setTimeout as pause } from "node:timers/promises";

import { products } from "./products.mjs";
import { tellCounts } from "./counts.mjs";
import { CallError, serveGrpc } from "./grpc.mjs";

const followedMax = 50;
const pauseMs = Number(process.env.OFFER_PAUSE_MS ?? 150);
const counts = { received: 0, sent: 0 };

function offerOf(product) {
  const off = 5 + Math.floor(Math.random() * 25);
  return { sku: product.sku, off, price: Math.round(product.price * (100 - off)) / 100 };
}

serveGrpc({
  /** {take} → so many offers, one after another. */
  "/shop.Offers/Follow": async (messages, send) => {
    for await (const { take } of messages) {
      counts.received += 1;
      if (!Number.isInteger(take) || take < 1 || take > followedMax) {
        throw new CallError("invalid", `take must be 1 to ${followedMax}`);
      }
      for (let left = take; left > 0; left -= 1) {
        counts.sent += 1;
        send(offerOf(products[Math.floor(Math.random() * products.length)]));
        if (left > 1) await pause(pauseMs);
      }
    }
  },
  /** {sku, bid} → {sku, ask, sold}, until it is sold or the caller has enough. */
  "/shop.Offers/Haggle": async (messages, send) => {
    let rounds = 0;
    for await (const { sku, bid } of messages) {
      counts.received += 1;
      const product = products.find((one) => one.sku === sku);
      if (product === undefined) throw new CallError("invalid", "no such product");
      rounds += 1;
      const ask = Math.round(product.price * Math.max(70, 100 - rounds * 6)) / 100;
      counts.sent += 1;
      send({ sku, ask, sold: bid >= ask });
    }
  },
});

tellCounts(counts);
