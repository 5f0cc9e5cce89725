import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import { resourcesAsJson } from "../../../test/support/xds-json.ts";
import { translate } from "../translate.ts";

const meshOf = (offered: string, host: string, sni: string): string => `case:
  proxy: front-0.default
  workloads:
    - name: front
      role: gateway
      labels: { istio: front }
      ports: [{ port: 443, targetPort: 443, protocol: tls }]
    - { name: web, ports: [{ port: 443, targetPort: 8443, protocol: tls }] }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: front }
spec:
  selector: { istio: front }
  servers:
    - port: { number: 443, name: tls, protocol: TLS }
      hosts: ["${offered}"]
      tls: { mode: PASSTHROUGH }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web }
spec:
  hosts: ["${host}"]
  gateways: [front]
  tls:
    - match: [{ sniHosts: ["${sni}"] }]
      route: [{ destination: { host: web } }]
`;

function check(offered: string, host: string, sni: string, expected: readonly string[]): void {
  const { model, proxy } = parseMeshCase(meshOf(offered, host, sni), "mesh.yaml");
  const text = JSON.stringify([...resourcesAsJson(translate(model, proxy), "listener").values()]);
  const found = [...text.matchAll(/"serverNames":(\[[^\]]*\])/g)].map(([, names = ""]) => names);
  const what = `${offered} ${host} ${sni}`;
  assert.deepEqual(found, expected.length === 0 ? [] : [JSON.stringify(expected)], what);
}

test("a gateway passes on names that are asked for and offered, the narrower of the two", () => {
  check("a.example", "a.example", "A.example", ["a.example"]);
  check("*.example", "*.example", "a.example", ["a.example"]);
  check("a.example", "*.example", "*.example", ["a.example"]);
  check("*.example", "*", "*", ["*.example"]);
  check("b.example", "*.example", "a.example", []);
});
