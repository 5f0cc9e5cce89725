/**
 * The control plane is killed under load: no request fails, proxies come back with jitter, and what
 * changed in the meantime arrives. How the loss of the stream is told, too.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import {
  ask,
  assertUnharmed,
  controlPid,
  dataPlanes,
  endLoad,
  heddle,
  load,
  metricsOf,
  pause,
  proxies,
  pseudoRandom,
  settled,
  startFaultMesh,
  takeControlDown,
} from "./support/faults.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

const files = {
  "heddle.yaml": `
mesh: faults
console: { port: 0 }
workloads:
- name: server
  replicas: 2
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`,
};
const instances = 3;
const rate = 500;
/**
 * Waits between starts double up to 5 s until one has run for 10 s: so kills come in bursts, each as
 * fast as it is started again, with a calm between them.
 */
const killsInBurst = 5;
const calmMs = 10_300;
const bursts = 4;

/** A VirtualService that adds a header to every answer of `server`. */
function marked(mark: string): string {
  return `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server, namespace: default }
spec:
  hosts: [server]
  http:
  - headers: { response: { set: { x-mark: ${mark} } } }
    route: [{ destination: { host: server } }]
`;
}

for (const dataPlane of dataPlanes) {
  describe(`faults of the control plane, ${dataPlane}`, () => {
    let mesh: TestMesh;
    before(async () => {
      mesh = await startFaultMesh(dataPlane, { ...files, "routes.yaml": marked("first") });
      await settled(mesh, instances);
    });
    after(async () => await mesh.stop());

    const markSeen = async (): Promise<string | undefined> => {
      const { stdout } = await mesh.workload("client-0").exec("curl -s -m 5 -i http://server/");
      return /x-mark: (\w+)/.exec(stdout)?.[1];
    };

    test("killed twenty times at random moments under load: no request fails, and what changed while it was down arrives", async () => {
      await eventually("the route acts", async () => (await markSeen()) === "first");
      // Until it is ended: how long the kills take depends on the machine.
      const running = load(mesh, "client-0", { url: "http://server/", rate, forMs: 300_000 });
      const random = pseudoRandom(dataPlane === "heddle" ? 3 : 5);
      const killed = new Set<number>();
      for (let burst = 0; burst < bursts; burst += 1) {
        for (let kill = 0; kill < killsInBurst; kill += 1) {
          const isCalm = burst > 0 && kill === 0;
          await killControl(mesh, killed, random() * 1000 + (isCalm ? calmMs : 0));
        }
      }
      mesh.write("routes.yaml", marked("second"));
      await settled(mesh, instances);
      await eventually("the change has arrived", async () => (await markSeen()) === "second");
      await endLoad(mesh, "client-0");
      const result = await running;
      assertUnharmed(result, { rate });
      assert.deepEqual(Object.keys(result.from).toSorted(), ["server-0", "server-1"]);
    });

    test("the loss is one line with address, code, text and next attempt, and a metric", async () => {
      const names = ["client-0", "server-0", "server-1"];
      const lossesOf = (name: string): readonly string[] =>
        mesh.log(`${name}.default.proxy.log`).match(/^.*xds stream lost.*$/gm) ?? [];
      const before = names.map((name) => lossesOf(name).length);
      await using down = await takeControlDown(mesh);
      await eventually("the metric says so", async () => {
        const metrics = await metricsOf(mesh, "client-0");
        return metrics.get("heddle_xds_connected") === 0;
      });
      await pause(3000);
      const metrics = await metricsOf(mesh, "client-0");
      assert((metrics.get("heddle_xds_stream_losses_total") ?? 0) >= 1);
      assert((metrics.get("heddle_snapshot_age_seconds") ?? 0) >= 3);
      for (const type of ["CDS", "EDS", "LDS", "RDS"]) {
        const age = metrics.get(`heddle_xds_seconds_since_ack{type="${type}"}`);
        assert(age !== undefined && age > 3, `${type}: ${age}`);
      }
      for (const [index, name] of names.entries()) {
        const lines = lossesOf(name).slice(before[index]);
        assert.equal(lines.length, 1, lines.join("\n"));
        assert.match(lines[0] ?? "", /server=\S+:15012 code=unavailable reason=.+ retryMs=\d+/);
      }
      // Of all losses so far: two may draw the same wait once.
      const waits = names.map((name) =>
        lossesOf(name)
          .map((line) => /retryMs=(\d+)/.exec(line)?.[1])
          .join(" "),
      );
      assert(new Set(waits).size > 1, `nobody waits alike: ${waits.join(", ")}`);
      down.bringBack();
      await settled(mesh, instances);
      const again = await metricsOf(mesh, "client-0");
      assert.equal(again.get("heddle_xds_connected"), 1);
      assert.equal(again.get("heddle_snapshot_age_seconds"), 0);
    });

    test("status without a control plane says how old each proxy's configuration is", async () => {
      await using down = await takeControlDown(mesh);
      await pause(1500);
      const { code, stdout, stderr } = await heddle(mesh, "status");
      assert.equal(code, 1, stdout + stderr);
      assert.match(stdout, /the control plane does not answer/);
      for (const name of ["client-0", "server-0", "server-1"]) {
        assert.match(
          stdout,
          new RegExp(`^${name}.default +ready +configuration of \\d+s ago`, "m"),
        );
      }
      down.bringBack();
      await settled(mesh, instances);
      assert(
        (await proxies(mesh)).length === instances && (await ask(mesh, "status")) !== undefined,
      );
    });
  });
}

/** Kills the next control plane that is started, at any moment: it may have begun, or serve by then. */
async function killControl(mesh: TestMesh, killed: Set<number>, afterMs: number): Promise<void> {
  const pid = await eventually("the control plane is started", () => {
    const found = controlPid(mesh);
    return found !== undefined && !killed.has(found) && found;
  });
  await pause(afterMs);
  process.kill(pid, "SIGKILL");
  killed.add(pid);
}
