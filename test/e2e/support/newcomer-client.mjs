// Asks each URL again and again, every time by a connection of its own, until SIGTERM, and prints as JSON
// what came of it: by URL how often which status or error. A name is looked up each time, too.
// Usage: newcomer-client.mjs URL...
import { get } from "node:http";

const lanes = 2;
const pauseMs = 5;
const answerMaxMs = 20_000;
const urls = process.argv.slice(2);
const counts = Object.fromEntries(urls.map((url) => [url, {}]));
let isOver = false;
process.once("SIGTERM", () => (isOver = true));

function ask(url) {
  return new Promise((resolve) => {
    const request = get(url, { agent: false, timeout: answerMaxMs }, (response) => {
      response.on("error", () => resolve("broken off"));
      response.on("end", () => resolve(String(response.statusCode)));
      response.resume();
    });
    request.on("timeout", () => request.destroy(new Error("no answer")));
    request.on("error", ({ code, message }) => resolve(code ?? message));
  });
}

async function lane(url) {
  while (!isOver) {
    const what = await ask(url);
    counts[url][what] = (counts[url][what] ?? 0) + 1;
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}

await Promise.all(urls.flatMap((url) => Array.from({ length: lanes }, () => lane(url))));
console.log(JSON.stringify(counts));
