/** Runs one bootstrap text under each data plane and tells what a request came to. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";

import { load } from "js-yaml";

import { systemClock } from "../../../src/base/clock.ts";
import type { IoChoice } from "../../../src/net/io-backend.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { threads } from "../../support/workers.ts";
import type { ScenarioApplication } from "./scenario-application.ts";

/** Names of the file's listeners. */
export type Door = "mesh" | "edge" | "behind" | "client" | "server";

export interface Place {
  /** Removed when the data plane is closed. */
  readonly folder: string;
  readonly ports: { readonly [name in Door]: number };
  readonly logFile: string;
}

/** What one scenario came to, seen from every side; what differs by chance is masked. */
export interface Outcome {
  readonly statusLine: string;
  /** Sorted. */
  readonly clientHeaders: readonly string[];
  readonly body: string;
  readonly closed: boolean;
  /** For each request that arrived: its first line, then its fields, sorted. */
  readonly upstream: readonly (readonly string[])[];
  /** Status, flags, details and attempts of each entry of the access log. */
  readonly log: readonly string[];
}

export interface RunningData {
  close(): Promise<void>;
  /** `entriesLeast`: so many entries of the log are waited for; one unless told. */
  ask(
    door: Door,
    text: string,
    hangsUpAfterMs: number | undefined,
    entriesLeast?: number,
  ): Promise<Outcome>;
}

type Texts = (place: Place) => string;

async function makePlace(): Promise<Place> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-scenarios-"));
  return {
    folder,
    logFile: join(folder, "access.log"),
    ports: {
      mesh: await freePort(),
      edge: await freePort(),
      behind: await freePort(),
      client: await freePort(),
      server: await freePort(),
    },
  };
}

export async function runHeddle(
  textFor: Texts,
  application: ScenarioApplication,
  { io, workers }: { readonly io: IoChoice; readonly workers: number },
): Promise<RunningData> {
  const place = await makePlace();
  const lines: string[] = [];
  const { feed, secrets, nodeId, node } = parseBootstrap({
    name: "scenarios.yaml",
    text: textFor(place),
    parseYaml: (yaml) => load(yaml),
    readFile: () => Buffer.alloc(0),
  });
  const clock = systemClock;
  const proxy = startProxy({
    feed,
    secrets,
    clock,
    log: createLog({ level: "error", format: "text", clock, sink: (line) => console.error(line) }),
    ...threads(workers),
    random: Math.random,
    peers: noPeers,
    openLog: () => (memory, length) => void lines.push(memory.toString("utf8", 0, length)),
    io,
    nodeId,
    nodeCluster: node.cluster,
    environment: { ...process.env },
    version: "test",
  });
  const close = async (): Promise<void> => {
    await proxy.close();
    rmSync(place.folder, { recursive: true });
  };
  if (proxy.refusals().length > 0) throw new Error(proxy.refusals().join("\n"));
  await proxy.ready;
  const readLog = (): readonly string[] =>
    lines.flatMap((line) => line.split("\n")).filter((line) => line !== "");
  return { close, ask: asker(place, application, readLog) };
}

export async function runEnvoy(
  binary: string,
  textFor: Texts,
  application: ScenarioApplication,
): Promise<RunningData> {
  const place = await makePlace();
  const options = ["--file-flush-interval-msec", "10"];
  const envoy = startEnvoy(binary, load(textFor(place)), options);
  const close = async (): Promise<void> => {
    await envoy.stop();
    rmSync(place.folder, { recursive: true });
  };
  await untilOpen(place.ports.mesh, envoy.log);
  const readLog = (): readonly string[] =>
    readFileSync(place.logFile, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  return { close, ask: asker(place, application, readLog) };
}

async function untilOpen(port: number, log: () => string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = net.connect({ host: "127.0.0.1", port });
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
    if (isOpen) return;
    if (Date.now() > deadline) throw new Error(`Envoy does not listen:\n${log()}`);
    await sleep(50);
  }
}

const quietMs = 60;
/** For a data plane on a busy machine; what is waited for mostly comes at once. */
const waitMs = 30_000;

function asker(
  place: Place,
  application: ScenarioApplication,
  readLog: () => readonly string[],
): RunningData["ask"] {
  // oxlint-disable-next-line max-params -- as its type says
  return async (door, text, hangsUpAfterMs, entriesLeast = 1) => {
    application.takeHeads();
    const before = readLog().length;
    const client = await openClient(place.ports[door]);
    client.socket.write(text, "latin1");
    if (hangsUpAfterMs !== undefined) {
      await sleep(hangsUpAfterMs);
      client.socket.destroy();
    }
    const deadline = Date.now() + waitMs;
    const isHeard = (): boolean => hangsUpAfterMs !== undefined || isWhole(text, client.received());
    // An entry may be written before the answer.
    while (!(readLog().length > before && isHeard()) && Date.now() < deadline) {
      if (client.isClosed()) break;
      await sleep(5);
    }
    await untilQuiet(client);
    while (readLog().length === before && Date.now() < deadline) await sleep(5);
    client.socket.destroy();
    // A tunnel is logged when it has ended, and Envoy writes its log when it comes to it.
    const endMs = Date.now() + waitMs;
    while (readLog().length - before < entriesLeast && Date.now() < endMs) await sleep(5);
    await sleep(quietMs);
    return {
      ...parseAnswer(client.received()),
      closed: client.isClosed(),
      upstream: application.takeHeads().map((head, i) => maskRetry(parseHead(head), i)),
      log: readLog().slice(before).map(mask),
    };
  };
}

interface Client {
  readonly socket: net.Socket;
  readonly received: () => string;
  readonly isClosed: () => boolean;
}

function openClient(port: number): Promise<Client> {
  return new Promise((resolve, reject) => {
    let received = "";
    let isClosed = false;
    const socket = net.connect({ host: "127.0.0.1", port, allowHalfOpen: true });
    socket.once("error", reject);
    socket.on("error", () => (isClosed = true));
    socket.on("end", () => (isClosed = true));
    socket.on("data", (chunk) => (received += chunk.toString("latin1")));
    socket.once("connect", () =>
      resolve({ socket, received: () => received, isClosed: () => isClosed }),
    );
  });
}

/** Head and declared length of the (first) answer are there. */
function isWhole(request: string, received: string): boolean {
  const end = received.indexOf("\r\n\r\n");
  if (end < 0) return false;
  const declared = /^content-length: *(\d+)/im.exec(received.slice(0, end))?.[1] ?? "0";
  return request.startsWith("HEAD ") || received.length >= end + 4 + Number(declared);
}

/** What came while this process had no turn is read before it is asked how much there is. */
async function untilQuiet({ received, isClosed }: Client): Promise<void> {
  for (let length = -1; length !== received().length;) {
    length = received().length;
    await sleep(isClosed() ? 5 : quietMs);
    await turn();
  }
}

function parseAnswer(text: string): Pick<Outcome, "statusLine" | "clientHeaders" | "body"> {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return { statusLine: "", clientHeaders: [], body: text };
  const [statusLine = "", ...fields] = parseHead(text.slice(0, end));
  return { statusLine, clientHeaders: fields, body: mask(text.slice(end + 4)) };
}

function parseHead(text: string): readonly string[] {
  const [first = "", ...fields] = text.split("\r\n");
  const lower = fields.map((field) => {
    const colon = field.indexOf(":");
    return mask(`${field.slice(0, colon).toLowerCase()}:${field.slice(colon + 1)}`);
  });
  // Envoy's tracer writes a tracestate also where there is none; it says nothing.
  return [first, ...lower.filter((field) => field !== "tracestate: ").toSorted()];
}

const ownAddresses = new Set(
  Object.values(networkInterfaces()).flatMap((all = []) => all.map(({ address }) => address)),
);

function nameLocal(field: string, before: string, address: string): string {
  return ownAddresses.has(address) ? `${before}LOCAL` : field;
}

/** What is left of the time at a retry, between all and little of it; a try's own time is 100 ms. */
function maskRetry(head: readonly string[], index: number): readonly string[] {
  if (index === 0) return head;
  return head.map((field) =>
    field.replace(/^(x-envoy-expected-rq-timeout-ms: )(?!100$)\d{3,5}$/, "$1LESS"),
  );
}

/** Times, ids and ports are never the same twice. */
function mask(text: string): string {
  return (
    text
      .replace(/^connection: Upgrade$/, "connection: upgrade")
      .replace(/^(x-forwarded-port: )\d+/, "$1PORT")
      // Envoy writes an address of the machine for a client on loopback.
      .replace(/^(x-forwarded-for: (?:.*,)?)([0-9.]+)$/, nameLocal)
      // What is left of 15 or of 2 seconds.
      .replace(/^(x-envoy-expected-rq-timeout-ms: )1[4789]\d\d\d?$/, "$1LESS")
      .replace(/^(set-cookie: timed=")[^"]+/, "$1SESSION")
      .replace(/^(x-ratelimit-reset: |retry-after: )(?:3600|35\d\d)$/, "$1SECONDS")
      .replace(/^(date: )(?!Mon, 01 Jan 2024).*/gm, "$1DATE")
      .replace(/^(x-envoy-upstream-service-time: )\d+/gm, "$1MS")
      .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "UUID")
      .replaceAll(/00-[0-9a-f]{32}-[0-9a-f]{16}-/g, "00-TRACE-SPAN-")
      .replaceAll(/127\.0\.0\.1:\d+/g, "127.0.0.1:PORT")
  );
}
