import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";

const meshWith = (version: string): string => `case:
  proxy: web-0.default
  workloads:
    - { name: web, labels: { version: v2 }, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
    - { name: api, labels: { version: v1 }, isReady: false, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: api }
spec: { host: api, subsets: [{ name: one, labels: { version: ${version} } }] }
`;

test("checkMesh() says of a subset that no workload of the host is in it, ready or not", () => {
  const check = (version: string, ...expected: readonly string[]): void => {
    const { problems } = parseMeshCase(meshWith(version), "mesh.yaml");
    assert.deepEqual(
      problems.map(({ code }) => code),
      expected,
    );
  };
  check("v1");
  // Another service's workload has it.
  check("v2", "destinationrule.empty-subset");
});
