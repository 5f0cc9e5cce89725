// A small load for tests: sends RATE requests a second, whatever the answers take, over at most
// CONNECTIONS kept alive, for MS milliseconds, and prints what came back as JSON. A request fails when
// its answer is not 200 and whole within ten seconds. SIGTERM ends it before its time.
// Usage: load-client.mjs URL RATE CONNECTIONS MS
import { Agent, request } from "node:http";

const [url, rate, connections, forMs] = process.argv.slice(2);
const agent = new Agent({
  keepAlive: true,
  maxSockets: Number(connections),
  proxyEnv: process.env, // in explicit mode
});
const tickMs = 10;
const answerMaxMs = 10_000;
const listedMax = 500;
const result = { sent: 0, succeeded: 0, failed: 0, failures: [], from: {}, longestMs: 0 };
const startMs = performance.now();

function send() {
  const sentMs = performance.now();
  let isOver = false;
  result.sent += 1;
  const over = (failure, from) => {
    if (isOver) return;
    isOver = true;
    clearTimeout(timer);
    result.longestMs = Math.max(result.longestMs, performance.now() - sentMs);
    if (failure === undefined) {
      result.succeeded += 1;
      result.from[from] = (result.from[from] ?? 0) + 1;
      return;
    }
    result.failed += 1;
    const atMs = Math.round(sentMs - startMs);
    if (result.failures.length < listedMax) result.failures.push({ atMs, failure });
  };
  const one = request(url, { agent }, (response) => {
    let text = "";
    response.setEncoding("utf8");
    response.on("data", (chunk) => (text += chunk));
    response.on("error", (error) => over(`the answer broke off: ${error.message}`));
    response.on("end", () => {
      if (!response.complete) return over("the answer broke off");
      if (response.statusCode !== 200) return over(`${response.statusCode} ${text.slice(0, 200)}`);
      over(undefined, text.startsWith("{") ? JSON.parse(text).from : "?");
    });
  });
  const timer = setTimeout(() => {
    over(`no answer in ${answerMaxMs} ms`);
    one.destroy();
  }, answerMaxMs);
  one.on("error", (error) => over(`${error.code ?? ""} ${error.message}`));
  one.end();
}

let due = 0;
let isEnough = false;
process.once("SIGTERM", () => (isEnough = true));
const ticker = setInterval(() => {
  const elapsedMs = performance.now() - startMs;
  // Also what has become due before the end, however late this turn comes.
  for (due = Math.floor((elapsedMs * Number(rate)) / 1000); result.sent < due;) send();
  if (!isEnough && elapsedMs < Number(forMs)) return;
  clearInterval(ticker);
  finish(elapsedMs);
}, tickMs);

/** Waits for the last answers; the rate is that of sending. */
function finish(forMs) {
  if (result.succeeded + result.failed < result.sent) {
    setTimeout(finish, tickMs, forMs);
    return;
  }
  agent.destroy();
  console.log(JSON.stringify({ ...result, forMs }));
}
