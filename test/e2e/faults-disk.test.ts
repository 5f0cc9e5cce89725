/**
 * The disk of the state directory fills up while the mesh runs: traffic, changes of configuration and
 * restarts of sidecars go on; what would have to be stored is refused in one sentence.
 */
import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { findEnvoy } from "../support/envoy.ts";
import {
  assertUnharmed,
  commandOf,
  dataPlanes,
  heddle,
  load,
  pause,
  settled,
} from "./support/faults.ts";
import { eventually, startMesh, type TestMesh } from "./support/mesh.ts";

const files = {
  "heddle.yaml": `
mesh: disk
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`,
};
const applied = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: applied, namespace: default }
spec:
  hosts: [elsewhere.example.com]
  http: [{ directResponse: { status: 200 } }]
`;

for (const dataPlane of dataPlanes) {
  test(`a disk that fills up harms nothing that runs, ${dataPlane}`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-disk-"));
    chmodSync(folder, 0o777);
    const isRoot = process.getuid?.() === 0;
    const flags = isRoot ? ["--mount"] : ["--user", "--map-current-user", "--keep-caps", "--mount"];
    const script = `mount -t tmpfs -o size=32m,mode=0777 small ${folder} && exec "$@"`;
    await using mesh = await startMesh({
      mode: "explicit",
      processes: "heddle",
      dataPlane,
      files,
      environment: { HEDDLE_ENVOY: findEnvoy() ?? "" },
      wrapper: ["unshare", ...flags, "--", "sh", "-c", script, "small-disk"],
      upArguments: [`--state-dir=${folder}/m`],
    });
    await settled(mesh, 2);
    // The mesh's own view of that folder.
    const stateDir = `/proc/${mesh.upPid}/root${folder}/m`;
    const asked = { url: "http://server/", rate: 50, forMs: 9000 };
    const running = load(mesh, "client-0", asked);
    fill(join(stateDir, "filler"));

    mesh.write("routes.yaml", marked);
    await eventually("a changed file acts", async () =>
      (await curl(mesh)).includes("x-mark: full"),
    );
    assertUnharmed(await running, asked);

    writeFileSync(join(mesh.directory, "..", "applied.yaml"), applied);
    const file = join(mesh.directory, "..", "applied.yaml");
    const refused = await heddle(mesh, "apply", "-f", file, "--state-dir", stateDir);
    assert.equal(refused.code, 1, refused.stdout);
    assert.match(refused.stdout + refused.stderr, /storing it: .*no space left on device/i);

    const sidecar = mesh.processes().find((pid) => isSidecarOf(pid, "server-0"));
    assert(sidecar !== undefined);
    process.kill(sidecar, "SIGKILL");
    await eventually("another sidecar serves", async () => {
      const other = mesh.processes().find((pid) => isSidecarOf(pid, "server-0"));
      return other !== undefined && other !== sidecar && (await curl(mesh)).includes("server-0");
    });

    rmSync(join(stateDir, "filler"));
    await pause(100);
    const stored = await heddle(mesh, "apply", "-f", file, "--state-dir", stateDir);
    assert.equal(stored.code, 0, stored.stdout + stored.stderr);
    await mesh.stop();
    rmSync(folder, { recursive: true, force: true });
  });
}

const marked = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server, namespace: default }
spec:
  hosts: [server]
  http:
  - headers: { response: { set: { x-mark: full } } }
    route: [{ destination: { host: server } }]
`;

async function curl(mesh: TestMesh): Promise<string> {
  return (await mesh.workload("client-0").exec("curl -s -i -m 2 http://server/")).stdout;
}

function isSidecarOf(pid: number, instance: string): boolean {
  return commandOf(pid).some((word) => word.endsWith(`/${instance}.default/options.json`));
}

/** Writes until nothing more goes in. */
function fill(path: string): void {
  for (const bytes of [1 << 20, 4096, 1]) {
    for (;;) {
      try {
        writeFileSync(path, Buffer.alloc(bytes), { flag: "a" });
      } catch {
        break; // ENOSPC
      }
    }
  }
}
