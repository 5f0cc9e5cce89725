import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import { resourcesAsJson } from "../../../test/support/xds-json.ts";
import { translate } from "../translate.ts";

const meshWith = (route: string): string => `case:
  proxy: client-0.default
  workloads:
    - { name: client }
    - { name: db, ports: [{ port: 9000, targetPort: 9000, protocol: tcp }] }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: db }
spec:
  host: db
  subsets:
    - name: v1
      trafficPolicy: { tunnel: { targetHost: target.example, targetPort: 443 } }
    - name: v2
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: db }
spec:
  hosts: [db]
  tcp: [{ route: [${route}] }]
`;

function check(route: string, isTunnelled: boolean): void {
  const { model, proxy } = parseMeshCase(meshWith(route), "mesh.yaml");
  const listener = resourcesAsJson(translate(model, proxy), "listener").get("198.19.0.1_9000");
  assert.equal(JSON.stringify(listener).includes("tunnelingConfig"), isTunnelled, route);
}

test("a tunnel of one subset is not asked of another that shares its connections", () => {
  const to = (subset: string): string => `destination: { host: db, subset: ${subset} }`;
  check(`{ ${to("v1")} }`, true);
  check(`{ ${to("v1")}, weight: 50 }, { ${to("v2")}, weight: 50 }`, false);
});
