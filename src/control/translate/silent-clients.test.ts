import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import { resourcesAsJson } from "../../../test/support/xds-json.ts";
import { translate } from "../translate.ts";

const mesh = `case:
  proxy: client-0.default
  dataPlane: heddle
  workloads:
    - { name: client }
    - { name: web, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside }
spec:
  hosts: [outside.example, again.example]
  addresses: [203.0.113.5, 198.19.0.0/16, 10.1.2.3/8]
  ports: [{ number: 80, name: http, protocol: HTTP }]
  resolution: STATIC
  endpoints: [{ address: 203.0.113.5 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: bytes }
spec:
  hosts: [bytes.example]
  addresses: [10.0.0.0/8]
  ports: [{ number: 80, name: tcp, protocol: TCP }]
`;

interface Shown {
  readonly filterChains: readonly {
    readonly filterChainMatch: {
      readonly transportProtocol?: string;
      readonly prefixRanges?: readonly {
        readonly addressPrefix: string;
        readonly prefixLen: number;
      }[];
    };
  }[];
}

test("silent clients of addresses that a ServiceEntry gives to HTTP stay clients of HTTP", () => {
  const { model, proxy } = parseMeshCase(mesh, "mesh.yaml");
  const listeners = resourcesAsJson(translate(model, proxy), "listener");
  const { filterChains } = listeners.get("0.0.0.0_80") as unknown as Shown;
  const ranges = filterChains
    .filter(({ filterChainMatch }) => filterChainMatch.transportProtocol === "raw_buffer")
    .flatMap(({ filterChainMatch }) => filterChainMatch.prefixRanges ?? [])
    .map(({ addressPrefix, prefixLen }) => `${addressPrefix}/${prefixLen}`);
  assert.deepEqual(ranges, ["198.19.0.0/16", "240.240.0.0/16", "203.0.113.5/32"]);
});
