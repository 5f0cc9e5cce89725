/** `heddle bench`: the same load with and without sidecars, on both data planes and in explicit mode. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { type CliResult, cliOf } from "./support/cli.ts";
import { dataPlanes, faultMode } from "./support/faults.ts";
import { startMesh, type TestMesh } from "./support/mesh.ts";

const meshFile = `
mesh: bench
console: { port: 0 }
workloads:
- name: server
  replicas: 2
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: raw
  command: [{exec}, "8080"]
  ports: [{ port: 9000, targetPort: 8080, protocol: TCP }]
- name: client
  command: [{exec}]
`;

/** Callers must prove who they are: what goes past the sidecars is measured all the same. */
const strict = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default }
spec: { mtls: { mode: STRICT } }
`;

interface Measured {
  readonly requests: number;
  readonly failed: number;
  readonly latencyMs: { readonly p50: number; readonly p99: number };
}

interface Answer {
  readonly from: string;
  readonly dataPlane: string;
  readonly withoutSidecars: Measured;
  readonly withSidecars: Measured;
  readonly addedMs: { readonly p50: number };
  readonly sidecars: readonly {
    readonly instance: string;
    readonly role: string;
    readonly cpuPercent: number;
    readonly cpuMicrosecondsPerRequest: number;
    readonly anonymousMegabytes: number;
  }[];
}

for (const mode of [faultMode, "explicit"] as const) {
  for (const dataPlane of dataPlanes) {
    describe(`bench, ${mode}, ${dataPlane}`, () => {
      let mesh: TestMesh;
      let heddle: (line: string) => Promise<CliResult>;
      before(async () => {
        const files = {
          "heddle.yaml": meshFile,
          ...(mode === "explicit" ? {} : { "s.yaml": strict }),
        };
        mesh = await startMesh({ mode, processes: "heddle", dataPlane, files });
        heddle = cliOf(mesh);
      });
      after(async () => await mesh.stop());

      test("measures both ways, and what each sidecar uses", async () => {
        const { code, stdout, stderr } = await heddle(
          "bench server --from client --rate 100 --duration 2s --rounds 1 -o json",
        );
        assert.equal(code, 0, stderr + stdout);
        const answer: Answer = JSON.parse(stdout);
        assert.deepEqual([answer.from, answer.dataPlane], ["client-0.default", dataPlane]);
        for (const one of [answer.withoutSidecars, answer.withSidecars]) {
          assert.deepEqual([one.requests, one.failed], [200, 0]);
          assert.ok(one.latencyMs.p50 > 0 && one.latencyMs.p50 <= one.latencyMs.p99);
        }
        // How much that is no test can say: on a busy machine the way without sidecars may be slower.
        const added = answer.withSidecars.latencyMs.p50 - answer.withoutSidecars.latencyMs.p50;
        assert.ok(Math.abs(answer.addedMs.p50 - added) < 0.01, stdout);
        for (const { cpuMicrosecondsPerRequest } of answer.sidecars) {
          assert.ok(cpuMicrosecondsPerRequest >= 0, stdout);
        }
        const used = answer.sidecars.map(({ instance, role }) => `${instance} ${role}`).toSorted();
        assert.deepEqual(used, [
          "client-0.default caller",
          "server-0.default replica",
          "server-1.default replica",
        ]);
        for (const { anonymousMegabytes } of answer.sidecars) assert.ok(anonymousMegabytes > 5);
        assert.match(stderr, /round 1 of 1, with sidecars: \d+ of 300 requests/);
      });

      test("says what cannot be measured", async () => {
        const refusals: readonly (readonly [line: string, code: number, says: RegExp])[] = [
          ["bench nothing", 1, /there is no service nothing; there are .*server\.default/],
          ["bench raw", 1, /service raw\.default has no HTTP port; there are 9000 \(tcp\)/],
          ["bench raw --port 9000", 1, /port 9000 of raw\.default does not speak HTTP/],
          ["bench server --from nobody", 1, /no workload nobody is ready/],
          ["bench server --rate 1000000", 2, /--rate 1000000 is not 1 to 20000/],
          ["bench server --duration 1h", 2, /--duration 1h is not 1s to 10m/],
          [
            "bench server --mesh unknown --state-dir /nowhere/unknown",
            3,
            /mesh unknown is not running/,
          ],
        ];
        for (const [line, expected, says] of refusals) {
          const { code, stderr } = await heddle(line);
          assert.equal(code, expected, `${line}: ${stderr}`);
          assert.match(stderr, says);
        }
      });
    });
  }
}
