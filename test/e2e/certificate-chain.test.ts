/**
 * What `openssl s_client` sees at an inbound port: leaf and intermediate, one URI name, a request for
 * a certificate, TLS 1.3; and that the root's key is nobody else's to read.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { dataPlanes, faultMode, startFaultMesh } from "./support/faults.ts";

const meshFile = `
mesh: chain
console: { port: 0 }
workloads:
- name: server
  serviceAccount: keeper
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  dependsOn: [server]
  command: [{exec}]
`;

const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;

const inbound = "198.18.0.2:8080";
const block = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

for (const dataPlane of dataPlanes) {
  test(`an inbound port shows openssl what it should, ${faultMode}, ${dataPlane}`, async (t) => {
    const files = { "heddle.yaml": meshFile, "strict.yaml": strict };
    await using mesh = await startFaultMesh(dataPlane, files);
    const connect = async (options: string): Promise<string> => {
      const line = `openssl s_client -connect ${inbound} -alpn istio ${options} </dev/null 2>&1`;
      return (await mesh.workload("client-0").exec(line)).stdout;
    };

    await t.test(
      "leaf and intermediate, one URI name, TLS 1.3, a certificate request",
      async () => {
        const shown = await connect("-showcerts");
        const rootFile = join(mesh.stateDir, "ca", "root-cert.pem");
        const root = new X509Certificate(readFileSync(rootFile, "utf8"));
        const chain = (shown.match(block) ?? []).map((pem) => new X509Certificate(pem));
        const [leaf, intermediate] = chain;
        assert(leaf !== undefined && intermediate !== undefined && chain.length === 2, shown);
        assert.equal(leaf.subjectAltName, "URI:spiffe://cluster.local/ns/default/sa/keeper");
        assert.equal(leaf.subject, "CN=server-0.default");
        assert.equal(leaf.ca, false);
        assert(leaf.checkIssued(intermediate) && leaf.verify(intermediate.publicKey));
        assert.equal(intermediate.ca, true);
        assert(intermediate.checkIssued(root) && intermediate.verify(root.publicKey));
        assert.match(shown, /TLSv1\.3/);
        assert.match(
          shown,
          /Requested Signature Algorithms|Acceptable client certificate CA names/,
        );
      },
    );

    await t.test("no TLS below 1.3", async () => {
      const shown = await connect("-tls1_2");
      assert.match(shown, /alert protocol version|no peer certificate available/);
      assert.equal(shown.match(block), null);
    });

    await t.test("the root's key is its owner's alone", () => {
      const keyFile = join(mesh.stateDir, "ca", "root-key.pem");
      assert.equal(statSync(keyFile).mode & 0o777, 0o600);
    });
  });
}
