import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import type { WorkloadSnapshot } from "../../model/workload.ts";
import { checkSeenProtocols } from "./check-seen-protocols.ts";

const text = `case:
  proxy: web-0.shop
  workloads:
    - name: web
      namespace: shop
      ports:
      - { port: 80, targetPort: 8080, protocol: http }
      - { port: 9000, targetPort: 9000, protocol: tcp }
      - { port: 7000, targetPort: 7000, protocol: auto }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside, namespace: shop }
spec:
  hosts: [outside.example]
  addresses: [192.0.2.7]
  ports: [{ number: 443, name: tls, protocol: TLS }, { number: 81, name: x, protocol: TCP }]
  resolution: NONE
`;

const { model } = parseMeshCase(text, "mesh.yaml");
const web = model.services.get("web.shop.svc.cluster.local") ?? assert.fail();
const [address = ""] = web.addresses;
const instance = web.endpoints[0]?.targets.get(80) ?? assert.fail();
const source = { file: "heddle.yaml", line: 7, column: 9 };
const workloads: WorkloadSnapshot = {
  revision: 1,
  instances: [],
  services: [
    {
      name: "web",
      namespace: "shop",
      addresses: web.addresses,
      selector: {},
      ports: [{ name: "tcp", port: 9000, targetPort: 9000, protocol: "tcp", source }],
    },
  ],
};
const check = (...seen: readonly (readonly [string, string])[]): readonly string[] =>
  checkSeenProtocols(
    model,
    workloads,
    seen.map(([destination, one]) => ({ destination, seen: one })),
  ).map(({ message, hint, source: at }) => `${at?.file}:${at?.line} ${message}; ${hint}`);

test("checkSeenProtocols() names the line that declares otherwise, and what to write", () => {
  assert.deepEqual(check([`${address}:9000`, "http/1.1"], [`${address}:9000`, "h2c"]), [
    "heddle.yaml:7 web.shop.svc.cluster.local:9000 is declared tcp, but connections to it speak HTTP/1.1: its requests are neither routed nor counted nor authorized one by one; write protocol: http",
  ]);
  assert.deepEqual(check([`${instance.address}:${instance.port}`, "tls"]), [
    "undefined:undefined web.shop.svc.cluster.local:80 is declared http, but connections to it speak TLS: such connections are refused; write protocol: tls",
  ]);
  assert.deepEqual(check(["192.0.2.7:81", "h2c"], ["192.0.2.7:443", "http/1.1"]), [
    "mesh.yaml:8 outside.example:443 is declared tls, but connections to it speak HTTP/1.1: its requests are neither routed nor counted nor authorized one by one; write protocol: HTTP",
    "mesh.yaml:8 outside.example:81 is declared tcp, but connections to it speak HTTP/2: its requests are neither routed nor counted nor authorized one by one; write protocol: HTTP2",
  ]);
});

test("checkSeenProtocols() has nothing to say of what goes together, is not declared or not known", () => {
  assert.deepEqual(
    check(
      [`${address}:80`, "http/1.0"],
      [`${address}:80`, "h2c"],
      [`${address}:9000`, "tls"],
      [`${address}:7000`, "http/1.1"],
      ["192.0.2.9:81", "http/1.1"],
      ["[2001:db8::1]:81", "http/1.1"],
    ),
    [],
  );
});
