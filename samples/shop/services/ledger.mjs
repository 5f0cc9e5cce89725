// The stock ledger: a line protocol over plain TCP.
//   TAKE sku n · PUT sku n · LIST   →   OK …   or   NO reason
// A delivery refills the shelves every few seconds.
import { createServer } from "node:net";

import { products } from "./products.mjs";
import { stopOnSignal } from "./web.mjs";

const shelf = 500;
const lineCharactersMax = 200;
const stock = new Map(products.map(({ sku }) => [sku, shelf]));

setInterval(() => {
  for (const [sku, count] of stock) stock.set(sku, Math.min(shelf, count + 40));
}, 5000).unref();

function run(line) {
  const [verb, sku, amount] = line.trim().split(/\s+/);
  if (verb === "LIST")
    return `OK ${[...stock].map(([name, count]) => `${name}=${count}`).join(" ")}`;
  const count = stock.get(sku);
  const n = Number(amount);
  if (count === undefined || !Number.isInteger(n) || n <= 0) return "NO such thing";
  if (verb === "PUT") stock.set(sku, count + n);
  else if (verb !== "TAKE") return "NO such command";
  else if (count < n) return `NO stock of ${sku}`;
  else stock.set(sku, count - n);
  return `OK ${stock.get(sku)}`;
}

const server = createServer((socket) => {
  let received = "";
  socket.setEncoding("utf8");
  socket.on("error", () => socket.destroy());
  socket.on("data", (text) => {
    received += text;
    const lines = received.split("\n");
    received = lines.pop() ?? "";
    if (received.length > lineCharactersMax) socket.destroy();
    else for (const line of lines) socket.write(`${run(line)}\n`);
  });
});
server.listen(Number(process.env.PORT ?? 9000), process.env.HOST);
stopOnSignal(server);
