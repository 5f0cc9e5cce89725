/**
 * Replicas come, go and are replaced while requests flow: none fails. A replica takes part only when
 * its sidecar has a first whole configuration and a certificate, and says until then what it lacks.
 */
import assert from "node:assert/strict";
import { existsSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";

import {
  ask,
  assertUnharmed,
  controlPid,
  dataPlanes,
  endLoad,
  hasApplicationStarted,
  load,
  pause,
  readiness,
  settled,
  startFaultMesh,
  workloads,
} from "./support/faults.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

function meshFile(replicas: number, generation = "one"): string {
  return `
mesh: faults
console: { port: 0 }
workloads:
- name: server
  replicas: ${replicas}
  command: [{exec}, "8080"]
  environment: { GENERATION: ${generation} }
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`;
}

const rate = 500;
/** Until it is ended: how long the changes take depends on the machine. */
const forMs = 110_000;
const url = "http://server/";

for (const dataPlane of dataPlanes) {
  describe(`replicas, ${dataPlane}`, () => {
    let mesh: TestMesh;
    before(async () => {
      mesh = await startFaultMesh(dataPlane, { "heddle.yaml": meshFile(1) });
      await settled(mesh, 2);
    });
    after(async () => await mesh.stop());

    test("added and removed under load: no request fails, and each new one is used", async () => {
      const running = load(mesh, "client-0", { url, rate, forMs });
      await pause(1000);
      mesh.write("heddle.yaml", meshFile(3));
      await settled(mesh, 4);
      await pause(500);
      mesh.write("heddle.yaml", meshFile(1));
      await settled(mesh, 2);
      mesh.write("heddle.yaml", meshFile(2));
      await settled(mesh, 3);
      await endLoad(mesh, "client-0");
      const result = await running;
      assertUnharmed(result, { rate });
      assert.deepEqual(Object.keys(result.from).toSorted(), ["server-0", "server-1", "server-2"]);
    });

    test("changed under load: replaced one after the other, no request fails", async () => {
      const pids = ["server-0", "server-1"].map((name) => mesh.workload(name).sidecarPid);
      const running = load(mesh, "client-0", { url, rate, forMs });
      await pause(500);
      mesh.write("heddle.yaml", meshFile(2, "two"));
      for (const [index, name] of ["server-0", "server-1"].entries()) {
        const isAnother = (): boolean => sidecarOf(mesh, name) !== pids[index];
        // One after the other, each when every proxy has heard of it and the one before serves.
        await eventually(`${name} is another`, isAnother, 30_000);
      }
      await settled(mesh, 3);
      await endLoad(mesh, "client-0");
      assertUnharmed(await running, { rate });
      const { stdout } = await mesh.workload("server-1").exec("echo $GENERATION");
      assert.equal(stdout, "two\n");
    });

    test("a replica that leaves serves on until the last proxy has heard of it", async () => {
      const [caller, leaving] = ["client-0", "server-1"].map((name) => sidecarOf(mesh, name));
      assert(caller !== undefined);
      process.kill(caller, "SIGSTOP");
      try {
        mesh.write("heddle.yaml", meshFile(1, "two"));
        await eventually("it is on its way out", async () =>
          (await workloads(mesh)).some(
            ({ instance, state }) => instance === "server-1" && state === "draining",
          ),
        );
        // Three times what is left to requests that are on their way.
        await pause(3000);
        assert.equal(sidecarOf(mesh, "server-1"), leaving);
      } finally {
        process.kill(caller, "SIGCONT");
      }
      await eventually("it has left", () => sidecarOf(mesh, "server-1") === undefined);
      mesh.write("heddle.yaml", meshFile(2, "two"));
      await settled(mesh, 3);
    });

    test("with a slow control plane a new replica waits, says why, and nothing passes it by", async () => {
      const control = controlPid(mesh);
      assert(control !== undefined);
      const running = load(mesh, "client-0", { url, rate, forMs });
      process.kill(control, "SIGSTOP");
      let said = "";
      try {
        mesh.write("heddle.yaml", meshFile(4, "two"));
        await eventually("its sidecar runs", () => sidecarOf(mesh, "server-3"));
        said = await eventually("its sidecar says what it lacks", async () => {
          const answer = await readiness(mesh, "server-3", "client-0");
          return answer.endsWith(" 503") && answer;
        });
        await pause(2000);
        assert.equal(hasApplicationStarted(mesh, "server-3"), false);
      } finally {
        process.kill(control, "SIGCONT");
      }
      assert.match(said, /^no certificate yet|^no clusters have arrived/);
      await settled(mesh, 5);
      assert.equal(await readiness(mesh, "server-3"), "ready 200");
      await endLoad(mesh, "client-0");
      assertUnharmed(await running, { rate });
      for (const { instance } of await workloads(mesh)) {
        const counters = await mesh.workload(instance).counters();
        assert.equal(counters["around"], 0, instance);
        assert.equal(counters["dropped"], 0, instance);
      }
      assert((await ask(mesh, "status")) !== undefined);
    });

    if (dataPlane === "heddle") {
      test("nobody takes the port of a sidecar that has crashed while it is started again", async () => {
        const marker = join(dirname(mesh.directory), "exec", "hog");
        const hog = mesh.workload("server-1").exec(hogging(15_006, marker));
        await eventually("somebody wants the port", () => existsSync(marker));
        const crashed = mesh.workload("server-1").sidecarPid;
        process.kill(crashed, "SIGKILL");
        await eventually("it runs again", () => {
          const pid = sidecarOf(mesh, "server-1");
          return pid !== undefined && pid !== crashed;
        });
        await settled(mesh, 5);
        assert.equal(await readiness(mesh, "server-1"), "ready 200");
        rmSync(marker);
        assert.equal((await hog).code, neverHadIt);
      });
      return;
    }

    test("a sidecar that cannot bind a listener is not ready, says so, and recovers", async () => {
      const marker = join(dirname(mesh.directory), "exec", "hog");
      const hog = mesh.workload("server-1").exec(hogging(15_006, marker));
      await eventually("somebody wants the port", () => existsSync(marker));
      process.kill(mesh.workload("server-1").sidecarPid, "SIGKILL");
      const said = await eventually("it says why it is not ready", async () => {
        const answer = await readiness(mesh, "server-1");
        return /^listener \S+ cannot start: .* 503$/.test(answer) && answer;
      });
      assert.match(said, /15006|in use/i);
      const shown = (await workloads(mesh)).find((one) => one.instance === "server-1");
      assert.notEqual(shown?.state, "ready");
      rmSync(marker);
      assert.equal((await hog).code, 0);
      await settled(mesh, 5);
      assert.equal(await readiness(mesh, "server-1"), "ready 200");
    });
  });
}

function sidecarOf(mesh: TestMesh, name: string): number | undefined {
  try {
    return mesh.workload(name).sidecarPid;
  } catch {
    return undefined; // between two
  }
}

/**
 * A script that takes a port of the sidecar's as soon as it is free, and holds it for as long as a file
 * is there, which it makes when it begins to try.
 */
/** What it ends with when the port was never free until it was told to end. */
const neverHadIt = 2;

/** Takes a port as soon as it is free, and holds it until the marker is gone. */
function hogging(port: number, marker: string): string {
  const code = `
    const [net, fs] = [require("node:net"), require("node:fs")];
    const end = Date.now() + 60000;
    const hold = () => (fs.existsSync("${marker}") ? setTimeout(hold, 20) : process.exit(0));
    const take = () => {
      const server = net.createServer();
      server.on("error", () => 
        (!fs.existsSync("${marker}") ? process.exit(${neverHadIt}) : Date.now() > end ? process.exit(1) : setTimeout(take, 1)));
      server.listen(${port}, "0.0.0.0", hold);
    };
    fs.writeFileSync("${marker}", "");
    take();`;
  return `exec ${process.execPath} -e '${code.replaceAll("\n", " ")}'`;
}
