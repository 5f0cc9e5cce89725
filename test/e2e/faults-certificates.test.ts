/**
 * Certificates that live for six seconds, renewed every two or three while everybody calls everybody
 * and connections are few requests old: nothing fails and nothing hangs. What happens when the
 * authority is away until they have expired is in test/long/certificates.test.ts.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import {
  assertUnharmed,
  dataPlanes,
  load,
  metricsOf,
  settled,
  startFaultMesh,
} from "./support/faults.ts";
import type { TestMesh } from "./support/mesh.ts";
import { watchStalls } from "../support/processor-wait.ts";

const ttlMs = 6000;
const forMs = 30_000;
/** Of each of the four. */
const rate = 50;
const longestMs = 2000;
const ring = ["one", "two", "three", "four"] as const;
const files = {
  "heddle.yaml": `
mesh: faults
console: { port: 0 }
workloads:${ring
    .map(
      (name) => `
- name: ${name}
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]`,
    )
    .join("")}
`,
  // So that handshakes go on all the time, also in the moment of a renewal.
  "short.yaml": ring
    .map(
      (name) => `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name} }
spec:
  host: ${name}
  trafficPolicy: { connectionPool: { http: { maxRequestsPerConnection: 5 } } }
`,
    )
    .join("---"),
};

for (const dataPlane of dataPlanes) {
  describe(`certificates of six seconds, ${dataPlane}`, () => {
    let mesh: TestMesh;
    before(async () => {
      mesh = await startFaultMesh(dataPlane, files, [`--certificate-ttl=${ttlMs}ms`]);
      await settled(mesh, ring.length);
    });
    after(async () => await mesh.stop());

    const valueOf = async (name: string, series: string): Promise<number> =>
      (await metricsOf(mesh, `${name}-0`)).get(series) ?? 0;
    const issued = 'heddle_agent_certificate_requests_total{outcome="issued"}';

    test("renewed under load: no request fails or hangs, and nobody renews more than needed", async () => {
      const startMs = performance.now();
      const issuedBefore = await Promise.all(ring.map((name) => valueOf(name, issued)));
      const stallMs = watchStalls();
      const results = await Promise.all(
        ring.map(async (name, i) => {
          const url = `http://${ring[(i + 1) % ring.length]}/`;
          return await load(mesh, `${name}-0`, { url, rate, forMs });
        }),
      );
      // A request passes four processes, there and back: what the machine took from each is not theirs.
      const mostMs = longestMs + 8 * stallMs();
      for (const result of results) {
        assertUnharmed(result, { rate });
        assert(result.longestMs < mostMs, `a request took ${result.longestMs} of ${mostMs} ms`);
      }
      for (const [i, name] of ring.entries()) {
        const renewals = (await valueOf(name, issued)) - (issuedBefore[i] ?? 0);
        const countedMs = performance.now() - startMs;
        const [least, most] = [forMs / ttlMs, countedMs / (ttlMs / 3)];
        assert(renewals >= least && renewals <= most, `${name}: ${renewals} renewals`);
      }
    });
  });
}
