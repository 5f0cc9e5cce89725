/**
 * However a mesh ends, nothing of it stays: no process, no link, no rule on the host; and the next
 * `heddle up` of the same mesh starts.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";

import { findEnvoy } from "../support/envoy.ts";
import { commandOf, type DataPlane, dataPlanes, heddle, settled } from "./support/faults.ts";
import { eventually, meshModes, startMesh, type MeshMode, type TestMesh } from "./support/mesh.ts";

const files = {
  "heddle.yaml": `
mesh: leftovers
console: { port: 0 }
gateways: [{ name: istio-ingressgateway, ports: [{ port: 80, hostPort: 0 }] }]
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: family
  command: [sh, -c, "sleep 1000 & sleep 1000 & wait"]
`,
};

const small = {
  "heddle.yaml": `
mesh: leftovers
console: { port: 0 }
gateways: [{ name: istio-ingressgateway, ports: [{ port: 80, hostPort: 0 }] }]
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
`,
};

/** How a mesh can end, and which process that takes. */
const ends: readonly { readonly name: string; readonly victim: (mesh: TestMesh) => number }[] = [
  { name: "heddle up", victim: (mesh) => mesh.upPid },
  { name: "unshare", victim: (mesh) => mesh.supervisorPid },
  { name: "the supervisor inside", victim: (mesh) => firstChild(mesh.supervisorPid) },
];

for (const mode of meshModes) {
  describe(`leftovers, ${mode}`, () => {
    for (const { name, victim } of ends.filter((_, index) => mode !== "explicit" || index === 0)) {
      test(`kill -9 of ${name} leaves nothing`, async () => {
        const host = hostState();
        const mesh = await start(mode);
        const family = mesh.processes();
        assert(family.length > 5);
        process.kill(victim(mesh), "SIGKILL");
        await eventually("every process has ended", () => family.every((pid) => !isRunning(pid)));
        assert.deepEqual(hostState(), host);
        await mesh.stop();
      });
    }

    for (const name of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      test(`${name} ends everything in order`, async () => {
        const host = hostState();
        const mesh = await start(mode);
        const family = mesh.processes();
        process.kill(mesh.upPid, name);
        await assertEnded(mesh, family);
        assert.deepEqual(hostState(), host);
        await mesh.stop();
      });
    }

    test("Ctrl-C, which the whole process group of the terminal gets, ends everything", async () => {
      const host = hostState();
      const mesh = await start(mode);
      const family = mesh.processes();
      const group = family.filter((pid) => groupOf(pid) === groupOf(mesh.upPid));
      for (const pid of [mesh.upPid, ...group]) signal(pid, "SIGINT");
      await assertEnded(mesh, family);
      assert.deepEqual(hostState(), host);
      await mesh.stop();
    });

    for (const dataPlane of dataPlanes) {
      describe(`with ${dataPlane}`, () => {
        test("kill -9 of heddle up leaves nothing", async () => {
          const host = hostState();
          const mesh = await startWhole(mode, dataPlane);
          const family = mesh.processes();
          assert(family.some((pid) => commandOf(pid).includes("sidecar")));
          assert.equal(family.some(isEnvoy), dataPlane === "envoy");
          process.kill(mesh.upPid, "SIGKILL");
          await eventually("every process has ended", () => family.every((pid) => !isRunning(pid)));
          assert.deepEqual(hostState(), host);
          await mesh.stop();
        });

        test("kill -9 of control plane, sidecar and application, then down: nothing is left", async () => {
          const host = hostState();
          const mesh = await startWhole(mode, dataPlane);
          const before = mesh.processes();
          const killed = before.filter((pid) => {
            const command = commandOf(pid);
            return ["control", "sidecar", "exec-server.mjs"].some((word) =>
              command.some((one) => one === word || one.endsWith(`/${word}`)),
            );
          });
          assert(killed.length >= 3);
          for (const pid of killed) signal(pid, "SIGKILL");
          await settled(mesh, 2);
          const family = [...before, ...mesh.processes()];
          const { code, stdout } = await heddle(mesh, "down", "--state-dir", mesh.stateDir);
          assert.equal(code, 0);
          assert.match(stdout, /has ended/);
          await assertEnded(mesh, family);
          assert.deepEqual(hostState(), host);
          await mesh.stop();
        });
      });
    }
  });
}

async function start(mode: MeshMode): Promise<TestMesh> {
  return await startMesh({ mode, processes: "stand-in", files });
}

async function startWhole(mode: MeshMode, dataPlane: DataPlane): Promise<TestMesh> {
  const environment = { HEDDLE_ENVOY: findEnvoy() ?? "" };
  return await startMesh({ mode, processes: "heddle", dataPlane, files: small, environment });
}

async function assertEnded(mesh: TestMesh, family: readonly number[]): Promise<void> {
  await eventually("every process has ended", () => family.every((pid) => !isRunning(pid)));
  await eventually(
    "the lease is given back",
    () => !readdirSync(mesh.stateDir).includes("lease.json"),
  );
}

/** The end of one may have been the end of the next. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (thrown) {
    if (isRunning(pid)) throw thrown;
  }
}

function isEnvoy(pid: number): boolean {
  return commandOf(pid)[0]?.endsWith("/envoy") === true;
}

function groupOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[2];
  } catch {
    return undefined; // it has just ended
  }
}

/** Links, rules and namespaces of the host: none of them may be touched. */
function hostState(): unknown {
  const links = readdirSync("/sys/class/net").toSorted();
  const isRoot = process.getuid?.() === 0;
  const rules = isRoot ? execFileSync("nft", ["list", "ruleset"], { encoding: "utf8" }) : "";
  const mounts = readFileSync("/proc/self/mounts", "utf8")
    .split("\n")
    .filter((line) => line.startsWith("heddle ") || line.startsWith("nsfs "));
  return { links, rules, mounts };
}

function firstChild(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ")[0]);
}

function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2, stat.lastIndexOf(")") + 3) !== "Z";
  } catch {
    return false;
  }
}
