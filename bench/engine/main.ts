/**
 * What the engine alone takes for a request, without any system call: time, and bytes that the
 * garbage collector has to clear away. HTTP/1.1 keep-alive on 32 connections in memory, through the
 * files of bench/data-plane. With `--streams`, HTTP/2: so many at once on each connection.
 *
 *   node --expose-gc --min-semi-space-size=64 --max-semi-space-size=64 bench/engine/main.ts
 *        [--config mesh.yaml] [--rounds 9] [--requests 8000] [--connections 32] [--streams 0] [--json]
 *
 * Time is the lowest of all rounds, bytes are the median. The young generation must hold a whole
 * round: what is collected during one is not seen.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import v8 from "node:v8";

import { EngineRig } from "./engine-rig.ts";

const { values } = parseArgs({
  options: {
    config: { type: "string", default: "mesh.yaml" },
    rounds: { type: "string", default: "9" },
    requests: { type: "string", default: "8000" },
    connections: { type: "string", default: "32" },
    streams: { type: "string", default: "0" },
    json: { type: "boolean", default: false },
  },
});

interface Round {
  readonly microseconds: number;
  readonly bytes: number;
}

await main();

async function main(): Promise<void> {
  const { gc } = globalThis;
  if (gc === undefined) throw new Error("needs --expose-gc");
  const template = readFileSync(join(import.meta.dirname, "../data-plane", values.config), "utf8");
  const text = template.replaceAll(/__(PORT|BACKEND|COLLECTOR|PEER)__/g, "19010");
  const rig = new EngineRig(text, Number(values.connections), Number(values.streams));
  await rig.open();
  const turns = Math.ceil(Number(values.requests) / rig.requests);
  const requests = turns * rig.requests;
  // Optimised before anything counts.
  for (let round = 0; round < 8; round++) rig.run(turns);
  const rounds: Round[] = [];
  for (let round = 0; round < Number(values.rounds); round++) {
    gc();
    rounds.push(measure(rig, turns, requests));
  }
  const microseconds = Math.min(...rounds.map((round) => round.microseconds));
  const bytes = rounds.map((round) => round.bytes).toSorted((a, b) => a - b)[rounds.length >> 1];
  const { said } = rig;
  const connection = lowestChurn(rig);
  const result = { config: values.config, microseconds, bytes: Math.round(bytes ?? 0), connection };
  if (values.json) console.log(JSON.stringify({ ...result, ...said }));
  else {
    const cost = `${microseconds.toFixed(2)} µs and ${result.bytes} bytes of garbage a request`;
    console.log(`${values.config}: ${cost}; ${connection.toFixed(1)} µs a connection with one`);
  }
  rig.close();
}

/** Microseconds for a connection with one request on it. */
function lowestChurn(rig: EngineRig): number {
  const connections = 1000;
  const times = Array.from({ length: 12 }, () => {
    const start = performance.now();
    rig.churn(connections);
    return ((performance.now() - start) * 1000) / connections;
  });
  return Math.min(...times);
}

function measure(rig: EngineRig, turns: number, requests: number): Round {
  const answers = rig.answers;
  const heapBefore = allocated();
  const start = process.hrtime.bigint();
  rig.run(turns);
  const elapsed = Number(process.hrtime.bigint() - start);
  const bytes = allocated() - heapBefore;
  if (rig.answers - answers !== requests) throw new Error("not every request was answered");
  return { microseconds: elapsed / 1000 / requests, bytes: bytes / requests };
}

/** On V8's heap and beside it (buffers). */
function allocated(): number {
  const { used_heap_size: heap, external_memory: external } = v8.getHeapStatistics();
  return heap + external;
}
