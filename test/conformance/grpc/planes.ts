/** One file with routes for callers of gRPC, under Heddle on either backend and under Envoy. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";

export const planeNames = ["portable", "epoll", "envoy"] as const;
export type PlaneName = (typeof planeNames)[number];

export interface Plane {
  readonly port: number;
  /** Lines of the access log so far. */
  readonly readLog: () => readonly string[];
  readonly close: () => Promise<void>;
}

/** `configure`: the file, given the port to listen on and the file of the access log. */
export async function startPlane(
  name: PlaneName,
  configure: (port: number, logFile: string) => object,
): Promise<Plane> {
  const port = await freePort();
  const lines = (text: string): readonly string[] => text.split("\n").filter((line) => line !== "");
  if (name !== "envoy") {
    let text = "";
    const config = configure(port, "access.log");
    const { close } = await startProxyInProcess(config, name, (more) => (text += more));
    return { port, readLog: () => lines(text), close };
  }
  const folder = mkdtempSync(join(tmpdir(), "heddle-grpc-"));
  const logFile = join(folder, "access.log");
  const options = ["--file-flush-interval-msec", "10"];
  const binary = findEnvoy() ?? assert.fail("no Envoy at hand: npm test installs one");
  const envoy = startEnvoy(binary, configure(port, logFile), options);
  await untilOpen(port);
  const close = async (): Promise<void> => {
    await envoy.stop();
    rmSync(folder, { recursive: true });
  };
  return { port, readLog: () => lines(readFileSync(logFile, "utf8")), close };
}

/** Until somebody listens there. */
export async function untilOpen(port: number): Promise<void> {
  for (let turn = 0; turn < 400; turn++) {
    const socket = net.connect(port, "127.0.0.1");
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once("connect", () => resolve(true));
      socket.once("error", () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await sleep(50);
  }
  assert.fail(`nobody listens on port ${port}`);
}
