// Sends RATE requests a second for MS milliseconds and prints, for each, when it was sent (Unix time in
// milliseconds) and what its answer's x-live header said, or why it failed. SIGTERM ends it before its time.
// Usage: live-client.mjs URL RATE MS
import { Agent, request } from "node:http";

const [url, rate, forMs] = process.argv.slice(2);
const agent = new Agent({ keepAlive: true, maxSockets: 32 });
const tickMs = 5;
const startMs = performance.now();
const result = { answers: [], failures: [] };
let sent = 0;
let waiting = 0;

function send() {
  const sentAtMs = performance.timeOrigin + performance.now();
  sent += 1;
  waiting += 1;
  let isOver = false;
  const over = (failure, version) => {
    if (isOver) return;
    isOver = true;
    waiting -= 1;
    if (failure === undefined) result.answers.push([sentAtMs, version]);
    else result.failures.push([sentAtMs, failure]);
  };
  const one = request(url, { agent, timeout: 5000 }, (response) => {
    response.resume();
    response.on("error", (error) => over(error.message));
    response.on("end", () => {
      const { statusCode } = response;
      const version = Number(response.headers["x-live"]);
      over(statusCode === 200 ? undefined : `status ${statusCode}`, version);
    });
  });
  one.on("timeout", () => one.destroy(new Error("no answer in 5 s")));
  one.on("error", (error) => over(error.message));
  one.end();
}

let endMs = Number(forMs);
process.once("SIGTERM", () => (endMs = Math.min(endMs, performance.now() - startMs)));
const ticker = setInterval(() => {
  const elapsedMs = performance.now() - startMs;
  const dueMs = Math.min(elapsedMs, endMs);
  while (sent < Math.floor((dueMs * Number(rate)) / 1000)) send();
  if (elapsedMs >= endMs && waiting === 0) {
    clearInterval(ticker);
    agent.destroy();
    console.log(JSON.stringify(result));
  }
}, tickMs);
