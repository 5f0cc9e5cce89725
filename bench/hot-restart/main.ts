/**
 * A proxy is replaced while new connections come at a fixed rate and 500 streams are open, and how much of
 * that rate the machine, nginx and the proxy can make.
 *
 *   npm run hot-restart                          5,000 new connections/s; ends with 1 when one was refused
 *                                                or reset, a stream broke, or the rate was missed
 *   npm run hot-restart -- --rate 2000 --concurrency 2
 *   npm run hot-restart -- --compare             also what application, nginx and proxy make of too many, and
 *                                                what nginx makes of a reload at the same rate
 */
import { loadavg } from "node:os";
import { parseArgs } from "node:util";

import { type Contestant, type NewcomersLoad, runContestant } from "./compare.ts";
import type { NewcomersResult } from "./newcomers.ts";
import { runHotRestart } from "./run.ts";

const { values } = parseArgs({
  options: {
    rate: { type: "string", default: "5000" },
    concurrency: { type: "string", default: "0" },
    "drain-time-s": { type: "string", default: "30" },
    compare: { type: "boolean", default: false },
  },
});
const rate = Number(values.rate);
const concurrency = Number(values.concurrency);
const drainTimeS = Number(values["drain-time-s"]);
if (!(rate >= 1 && rate <= 50_000) || !(concurrency >= 0) || !(drainTimeS >= 10)) {
  console.error(
    "hot-restart: --rate is 1 to 50000, --concurrency 0 or more, --drain-time-s 10 or more",
  );
  process.exit(2);
}

/** Of the rate: the first and the last connections are not made at the same pace. */
const shareKept = 0.95;
const overloadRate = 50_000;
const compareSeconds = 6;

console.log(`load ${loadText()}`);
if (values.compare) {
  await compare("application", { rate: overloadRate, seconds: compareSeconds, replaces: false });
  await compare("nginx", { rate: overloadRate, seconds: compareSeconds, replaces: false });
  await compare("heddle", { rate: overloadRate, seconds: compareSeconds, replaces: false });
  await compare("nginx", { rate, seconds: compareSeconds, replaces: true });
}
const streams = { http: 200, grpc: 150, websocket: 75, tcp: 75 };
const plan = { rate, streams, concurrency, drainTimeS, togetherMs: 3000 };
const { newcomers, broken, ...result } = await runHotRestart(plan);
console.log(`hot restart at ${rate}/s, ${concurrency} data workers: ${describe(newcomers)}`);
console.log(
  `  the new proxy served ${Math.round(result.servesAfterMs)} ms after SIGHUP, the old one had ended after ${Math.round(result.endedAfterMs)}; processes waited ${Math.round(result.processorWaitMs)} ms for a processor`,
);
console.log(
  `  ${result.streams - broken.length} of ${result.streams} streams went on to their end${broken.length === 0 ? "" : `; ${[...new Set(broken)].join(", ")}`}`,
);
console.log(`load ${loadText()}`);
const isKept = newcomers.perSecond >= rate * shareKept;
const isWhole = newcomers.answered === newcomers.asked && broken.length === 0 && result.handsOver;
process.exit(isKept && isWhole ? 0 : 1);

async function compare(contestant: Contestant, load: NewcomersLoad): Promise<void> {
  const { newcomers: seen, cpuUsEach } = await runContestant(contestant, load);
  const how = load.replaces ? `replaced at ${load.rate}/s` : "as many as it can";
  console.log(`${contestant}, ${how}: ${describe(seen)}; it took ${cpuUsEach.toFixed(0)} µs each`);
}

function describe({ answered, asked, failures, ...result }: NewcomersResult): string {
  const kinds = Object.entries(failures).map(([kind, count]) => `${count} × ${kind}`);
  const failed = kinds.length === 0 ? "none failed" : kinds.join(", ");
  const { perSecond, p50, p99, max, cpuUsEach } = result;
  return `${perSecond.toFixed(0)}/s (${answered} of ${asked}; ${failed}), p50 ${p50.toFixed(1)}, p99 ${p99.toFixed(0)}, max ${max.toFixed(0)} ms; the client took ${cpuUsEach.toFixed(0)} µs each`;
}

function loadText(): string {
  return loadavg()
    .map((value) => value.toFixed(1))
    .join(" ");
}
