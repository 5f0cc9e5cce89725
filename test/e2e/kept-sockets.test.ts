/**
 * A sidecar is killed again and again while newcomers connect to every port of it: none is refused, nor
 * is a name not found; they wait until the next one serves.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as pause } from "node:timers/promises";

import type { SidecarOptions } from "../../src/base/sidecar-options.ts";
import { settled, workloads } from "./support/faults.ts";
import { eventually, meshModes, type MeshMode, startMesh, type TestMesh } from "./support/mesh.ts";

const heddleYaml = `
mesh: kept
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
  destinations: [{ service: server, port: 80 }]
`;
const client = join(import.meta.dirname, "support", "newcomer-client.mjs");
/** What an application sees of a sidecar that ends while it answers. */
const inFlight = new Set(["200", "503", "ECONNRESET", "EPIPE", "broken off"]);

for (const mode of meshModes) {
  test(`newcomers are not refused while a sidecar is killed ${kills(mode)} times, ${mode}`, async () => {
    await using mesh = await startMesh({
      mode,
      processes: "heddle",
      files: { "heddle.yaml": heddleYaml },
    });
    await settled(mesh, 2);
    const running = askAll(mesh, urlsOf(mesh));
    running.catch(() => {}); // where something else fails before
    for (let kill = 0; kill < kills(mode); kill++) {
      await pause(150);
      await killSidecar(mesh, "client-0");
    }
    await pause(500);
    await mesh.workload("client-0").exec("pkill -TERM -f '[/]newcomer-client.mjs'");
    const answers = await running;
    for (const [url, counts] of Object.entries(answers)) {
      const what = `${url}: ${JSON.stringify(counts)}`;
      assert((counts["200"] ?? 0) > kills(mode), what);
      const others = Object.keys(counts).filter((code) => !inFlight.has(code));
      assert.deepEqual(others, [], what);
    }
  });
}

/** In one mode as often as it takes to meet what is rare. */
function kills(mode: MeshMode): number {
  return mode === meshModes[0] ? 20 : 5;
}

/** The application's own way through its sidecar, and what else of the sidecar it can reach. */
function urlsOf(mesh: TestMesh): readonly string[] {
  const options: SidecarOptions = JSON.parse(
    readFileSync(join(mesh.stateDir, "i", "client-0.default", "options.json"), "utf8"),
  );
  const { admin, ready, metrics, mergedMetrics } = options.ports;
  const local = [`http://127.0.0.1:${admin}/ready`];
  if (mesh.mode !== "explicit") return ["http://server/", ...local];
  return [
    ...local,
    `http://127.0.0.1:${ready}/healthz/ready`,
    `http://127.0.0.1:${metrics}/metrics`,
    `http://127.0.0.1:${mergedMetrics}/metrics`,
  ];
}

async function askAll(
  mesh: TestMesh,
  urls: readonly string[],
): Promise<Readonly<Record<string, Readonly<Record<string, number>>>>> {
  const line = `exec ${process.execPath} ${client} ${urls.join(" ")}`;
  const { code, stdout, stderr } = await mesh.workload("client-0").exec(line);
  assert.equal(code, 0, stderr);
  return JSON.parse(stdout);
}

async function killSidecar(mesh: TestMesh, name: string): Promise<void> {
  const restartsOf = async (): Promise<number> =>
    (await workloads(mesh)).find(({ instance }) => instance === name)?.restarts ?? 0;
  const before = await restartsOf();
  process.kill(mesh.workload(name).sidecarPid, "SIGKILL");
  const isReady = async (): Promise<boolean> =>
    (await workloads(mesh)).some(({ instance, state }) => instance === name && state === "ready");
  await eventually("its end is noticed", async () => (await restartsOf()) > before, 30_000);
  await eventually("another is ready", isReady, 30_000);
}
