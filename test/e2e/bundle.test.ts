/**
 * The bundle that a mesh's processes run from: also where the clone is not to be written, and with as
 * little memory as docs/performance.md promises of a sidecar that knows a hundred services.
 */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, test } from "node:test";

import { cliOf } from "./support/cli.ts";
import { faultMode } from "./support/faults.ts";
import { eventually, startMesh, type TestMesh } from "./support/mesh.ts";

const root = dirname(dirname(import.meta.dirname));
const meshFile = `
mesh: bundled
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
`;
/** The budget: more is a leak or a new dependency. */
const residentMbMax = 75;
const anonymousMbMax = 32;

describe(`the bundle, ${faultMode}`, () => {
  test("of a clone that may not be written lies in the state directory", async () => {
    const state = mkdtempSync(join(tmpdir(), "heddle-state-"));
    mkdirSync(join(root, ".cache/bundle"), { recursive: true });
    // What a start that was killed has left there two days ago.
    const abandoned = join(state, "heddle/.bundle/.building-abandoned");
    mkdirSync(abandoned, { recursive: true, mode: 0o700 });
    const twoDaysAgo = new Date(Date.now() - 48 * 3_600_000);
    utimesSync(abandoned, twoDaysAgo, twoDaysAgo);
    const isRoot = process.getuid?.() === 0;
    // Without root applications cannot be confined beside a mount inside of the clone.
    const mode = isRoot ? "root" : "explicit";
    const mayMount = isRoot ? [] : ["--user", "--map-current-user", "--keep-caps"];
    // Empty, so that it would have to be made there.
    const mount = `mount -t tmpfs -o ro none ${root}/.cache/bundle && exec "$@"`;
    try {
      await using mesh = await startMesh({
        mode,
        processes: "heddle",
        files: { "heddle.yaml": meshFile },
        wrapper: ["unshare", ...mayMount, "--mount", "sh", "-c", mount, "-"],
        environment: { XDG_STATE_HOME: state },
      });
      assert.doesNotMatch(mesh.output(), /running from source/);
      assert(mainOf(mesh).startsWith(join(state, "heddle/.bundle/")), mainOf(mesh));
      assert(!existsSync(abandoned), "what is old there is taken away when one is made");
      const { code, stdout } = await cliOf(mesh)("status");
      assert.equal(code, 0, stdout);
    } finally {
      rmSync(state, { recursive: true });
    }
  });

  test("a sidecar that knows a hundred services keeps to its memory", async () => {
    const services = Array.from({ length: 99 }, (_, index) => serviceEntry(index)).join("---\n");
    const files = { "heddle.yaml": meshFile, "services.yaml": services };
    await using mesh = await startMesh({ mode: faultMode, processes: "heddle", files });
    const main = mainOf(mesh);
    assert.match(main, /\.cache\/bundle\/[0-9a-f]+\/main\.js$/);
    assert(
      existsSync(join(dirname(main), "compile-cache")),
      "what is compiled goes with the bundle",
    );
    const memory = await eventually(
      "what the start needed is given back",
      () => {
        const now = memoryOf(mesh.workload("server-0").sidecarPid);
        return now.residentMb <= residentMbMax && now.anonymousMb <= anonymousMbMax && now;
      },
      20_000,
    );
    console.log(`# ${memory.residentMb} MB resident, ${memory.anonymousMb} MB anonymous`);
  });
});

function serviceEntry(index: number): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: service-${index} }
spec:
  hosts: [service-${index}.example]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  endpoints: [{ address: 10.1.0.${index + 1} }, { address: 10.1.1.${index + 1} }]
`;
}

/** The file that the sidecar was started with. */
function mainOf(mesh: TestMesh): string {
  const { sidecarPid } = mesh.workload("server-0");
  const words = readFileSync(`/proc/${sidecarPid}/cmdline`, "utf8").split("\0");
  return words[words.indexOf("sidecar") - 1] ?? "";
}

function memoryOf(pid: number): { readonly residentMb: number; readonly anonymousMb: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const megabytes = (field: string): number =>
    Math.round(Number(new RegExp(`${field}:\\s+(\\d+)`).exec(status)?.[1]) / 1024);
  return { residentMb: megabytes("VmRSS"), anonymousMb: megabytes("RssAnon") };
}
