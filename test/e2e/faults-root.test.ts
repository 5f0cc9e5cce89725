/**
 * The mesh's root is lost, damaged or another: the control plane says so and does not begin a new one,
 * with which old and new certificates would refuse each other; traffic goes on, and all is well when
 * the root is back. Its proxies have no part in that, so one data plane is enough.
 */
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { openRoot } from "../../src/identity/root-store.ts";
import { controlPid, heddle, settled, startFaultMesh } from "./support/faults.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

const files = {
  "heddle.yaml": `
mesh: root
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`,
};
const remedy = String.raw`put it back, or delete \S+ while the mesh is down to begin with a new root`;

interface Loss {
  readonly code: string;
  readonly says: string;
  readonly lose: (ca: string) => void;
}

const losses: readonly Loss[] = [
  {
    code: "ca.root-missing",
    says: String.raw`\S+/ca is gone, and with it the root that this mesh's certificates come from`,
    lose: () => {},
  },
  {
    code: "ca.root-damaged",
    says: String.raw`\S+/ca/root-key.pem is damaged: it does not hold a private key`,
    lose: (ca) => {
      cpSync(`${ca}.kept`, ca, { recursive: true });
      writeFileSync(join(ca, "root-key.pem"), "none");
    },
  },
  {
    code: "ca.root-replaced",
    says: String.raw`\S+/ca holds another root \(SHA-256 [0-9a-f]{64}\) than this mesh's certificates come from \([0-9a-f]{64}\)`,
    lose: (ca) => {
      const stateDir = `${ca}.other`;
      mkdirSync(stateDir);
      openRoot({ stateDir, trustDomain: "cluster.local", mesh: "root", nowMs: Date.now() });
      renameSync(join(stateDir, "ca"), ca);
      rmSync(stateDir, { recursive: true });
    },
  },
];

let mesh: TestMesh;
before(async () => {
  mesh = await startFaultMesh("heddle", files);
  await settled(mesh, 2);
});
after(async () => await mesh.stop());

const answer = async (): Promise<string> =>
  (await mesh.workload("client-0").exec("curl -s -m 5 http://server/")).stdout;

for (const { code, says, lose } of losses) {
  test(`${code}: no new root is begun, traffic goes on, and the old one brings all back`, async () => {
    const ca = join(mesh.stateDir, "ca");
    renameSync(ca, `${ca}.kept`);
    lose(ca);
    const wasThere = existsSync(ca);
    const told = new RegExp(`^error ${code}: ${says}; ${remedy}$`, "m");
    await eventually("status says so while the control plane still runs", async () =>
      told.test((await heddle(mesh, "status")).stdout),
    );
    process.kill(controlPid(mesh) ?? 0, "SIGKILL");
    const wanted = new RegExp(`^it ended with: ${says}; ${remedy} \\(${code}\\)$`, "m");
    let shown = "";
    await eventually("status says why", async () => {
      shown = (await heddle(mesh, "status")).stdout;
      return wanted.test(shown);
    }).catch(() => assert.fail(shown));
    assert.equal(existsSync(ca), wasThere);
    process.kill(mesh.workload("server-0").sidecarPid, "SIGKILL");
    await eventually("the server's proxy serves again from disk", async () =>
      (await answer()).includes("server-0"),
    );
    rmSync(ca, { recursive: true, force: true });
    renameSync(`${ca}.kept`, ca);
    await settled(mesh, 2, 60_000);
    assert.match(await answer(), /server-0/);
  });
}
