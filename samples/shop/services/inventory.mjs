// Stock over HTTP for the shop; behind it the ledger, an old service with a line protocol over TCP.
import { connect } from "node:net";

import { HttpError, serve } from "./web.mjs";

const [ledgerHost, ledgerPort] = (process.env.LEDGER_ADDR ?? "ledger:9000").split(":");
const answerTimeoutMs = 3000;
const waitingMax = 200;

let socket;
let received = "";
const waiting = [];

function ledger() {
  if (socket !== undefined) return socket;
  const own = connect({ host: ledgerHost, port: Number(ledgerPort) });
  socket = own;
  received = "";
  own.setEncoding("utf8");
  own.on("data", (text) => {
    received += text;
    const lines = received.split("\n");
    received = lines.pop() ?? "";
    for (const line of lines) waiting.shift()?.resolve(line);
  });
  own.on("error", () => own.destroy());
  own.on("close", () => {
    if (socket === own) socket = undefined;
    for (const one of waiting.splice(0)) one.reject(new HttpError(502, "the ledger hung up"));
  });
  return own;
}

/** One command, one line back; answers come in the order of the commands. */
function ask(command) {
  return new Promise((resolve, reject) => {
    if (waiting.length >= waitingMax) {
      reject(new HttpError(503, "too many wait for the ledger"));
      return;
    }
    const own = ledger();
    const timer = setTimeout(() => own.destroy(), answerTimeoutMs);
    const end = (settle) => (value) => {
      clearTimeout(timer);
      settle(value);
    };
    waiting.push({ resolve: end(resolve), reject: end(reject) });
    own.write(`${command}\n`);
  });
}

async function eachSku(body, command) {
  const skus = Array.isArray(body?.skus) ? body.skus.map(String) : [];
  if (skus.length === 0 || !skus.every((sku) => /^[a-z]{1,20}$/.test(sku))) {
    throw new HttpError(400, "skus must be a list of product names");
  }
  const answers = await Promise.all(skus.map((sku) => ask(`${command} ${sku} 1`)));
  return skus.map((sku, index) => ({ sku, answer: answers[index] }));
}

serve({
  "GET /stock": async () => {
    const line = await ask("LIST");
    const pairs = line.replace(/^OK ?/, "").split(" ").filter(Boolean);
    return Object.fromEntries(pairs.map((pair) => pair.split("=")).map(([k, v]) => [k, Number(v)]));
  },
  "POST /reserve": async ({ body }) => {
    const taken = await eachSku(body, "TAKE");
    const missing = taken.filter(({ answer }) => !answer.startsWith("OK"));
    if (missing.length === 0) return { reserved: taken.length };
    const got = taken.filter(({ answer }) => answer.startsWith("OK")).map(({ sku }) => sku);
    if (got.length > 0) await eachSku({ skus: got }, "PUT");
    throw new HttpError(409, `out of stock: ${missing.map(({ sku }) => sku).join(", ")}`);
  },
  "POST /release": async ({ body }) => ({ released: (await eachSku(body, "PUT")).length }),
});
