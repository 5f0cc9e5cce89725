/**
 * Certificates that live for twenty seconds: renewed under load without harm, and what happens when
 * the authority is away until they have expired.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import {
  assertUnharmed,
  dataPlanes,
  heddle,
  load,
  metricsOf,
  readiness,
  settled,
  startFaultMesh,
  takeControlDown,
} from "./support/faults.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

const ttlMs = 20_000;
const files = {
  "heddle.yaml": `
mesh: faults
console: { port: 0 }
meshConfig: { accessLogFile: /dev/stdout, accessLogEncoding: JSON }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: fresh
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`,
};
const instances = 3;
const rate = 500;

/** The client's words, in its access log, for a handshake with an expired certificate. */
const refusals = {
  // Envoy writes blanks of this field as underscores, and so do we.
  heddle:
    /^TLS_with_\S+:8080_failed:_its_certificate_is_not_valid_at_this_time_\(sni_\S+\.fresh\.default\S+,_presented_spiffe:\/\/cluster\.local\/ns\/default\/sa\/default,_valid_until_\S+,_CERT_HAS_EXPIRED\)$/,
  envoy: /^TLS_error:.*CERTIFICATE_VERIFY_FAILED.*expired/,
} as const;

for (const dataPlane of dataPlanes) {
  describe(`certificates that expire, ${dataPlane}`, () => {
    let mesh: TestMesh;
    before(async () => {
      mesh = await startFaultMesh(dataPlane, files, [`--certificate-ttl=${ttlMs}ms`]);
      await settled(mesh, instances);
    });
    after(async () => await mesh.stop());

    const issued = async (name: string): Promise<number> => {
      const requests = "heddle_agent_certificate_requests_total";
      return (await metricsOf(mesh, name)).get(`${requests}{outcome="issued"}`) ?? 0;
    };

    test("renewed under load: no request fails, and nobody renews more than needed", async () => {
      const before = await issued("server-0");
      const asked = { url: "http://server/", rate, forMs: ttlMs + 5000 };
      assertUnharmed(await load(mesh, "client-0", asked), { rate });
      const renewals = (await issued("server-0")) - before;
      assert(renewals >= 2 && renewals <= 5, `${renewals} renewals in ${asked.forMs} ms`);
    });

    test("without an authority: connections go on, new ones fail and say why, then all is well", async () => {
      await using down = await takeControlDown(mesh);
      const kept = load(mesh, "client-0", {
        url: "http://server/",
        rate: 50,
        forMs: ttlMs + 8000,
        connections: 1,
      });
      await eventually(
        "the certificates have expired",
        async () => {
          const left = await metricsOf(mesh, "fresh-0");
          return (left.get('cert_expiry_seconds{resource_name="default"}') ?? 1) < -1;
        },
        ttlMs + 10_000,
      );
      await eventually("the client's, too", async () => {
        const left = await metricsOf(mesh, "client-0");
        return (left.get('cert_expiry_seconds{resource_name="default"}') ?? 1) < -1;
      });
      const { stdout } = await mesh.workload("client-0").exec("curl -s -i -m 5 http://fresh/");
      assert.match(stdout, /^HTTP\/1\.1 503 /);
      assert.match(stdout, /upstream connect error .* remote connection failure/);
      const reason = await eventually("the client's log says why", () => {
        const log = mesh.log("client-0.default.proxy.log");
        return /"upstream_transport_failure_reason":"([^"]+)"/.exec(log)?.[1];
      });
      assert.match(reason, refusals[dataPlane]);
      assertUnharmed(await kept, { rate: 50 });
      assert.equal(await readiness(mesh, "fresh-0"), "ready 200");
      const shown = await heddle(mesh, "status");
      assert.match(shown.stdout, /^fresh-0\.default +ready .*expired \d+s ago/m);

      process.kill(mesh.workload("fresh-0").sidecarPid, "SIGKILL");
      const said = await eventually("the restarted sidecar says why it cannot serve", async () => {
        const answer = await readiness(mesh, "fresh-0");
        return answer.endsWith(" 503") && answer.includes("certificate") && answer;
      });
      assert.match(
        said,
        /^the certificate expired at \S+Z and cannot be renewed: connecting to \S+:15012: /,
      );

      down.bringBack();
      // After a long absence everybody asks again within half a minute.
      await settled(mesh, instances, 60_000);
      await eventually("new connections stand again", async () => {
        const { stdout: answer } = await mesh
          .workload("client-0")
          .exec("curl -s -m 5 http://fresh/");
        return answer.includes("fresh-0");
      });
      assert.equal(await readiness(mesh, "fresh-0"), "ready 200");
    });
  });
}
