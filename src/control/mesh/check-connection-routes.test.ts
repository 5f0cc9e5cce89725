import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";

const head = `case:
  proxy: client-0.default
  workloads:
    - { name: client }
    - { name: db, ports: [{ port: 9000, targetPort: 9000, protocol: tcp }] }
    - { name: web, ports: [{ port: 443, targetPort: 8443, protocol: tls }] }
    - { name: other, ports: [{ port: 443, targetPort: 8443, protocol: tls }] }
`;

const rule = (name: string, hosts: string, routes: string): string => `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name} }
spec:
  hosts: ${hosts}
  ${routes}
`;

function unreachable(...rules: readonly string[]): readonly string[] {
  return parseMeshCase(head + rules.join(""), "mesh.yaml")
    .problems.filter(({ code }) => code === "virtualservice.unreachable-route")
    .map(({ path, resource }) => `${resource?.name} ${path}`);
}

test("routes of bytes behind one for the same port take nothing, and it is said", () => {
  const route = "route: [{ destination: { host: db } }]";
  const tcp = (...matches: readonly string[]): readonly string[] => {
    const routes = matches.map((match) => `{ match: [${match}], ${route} }`);
    return unreachable(rule("db", "[db]", `tcp: [${routes.join(", ")}]`));
  };
  assert.deepEqual(tcp("{ port: 9000 }", "{ port: 9000 }"), ["db spec.tcp[1]"]);
  assert.deepEqual(tcp("{}", "{ port: 9000, sourceSubnet: 10.0.0.0/8 }"), ["db spec.tcp[1]"]);
  assert.deepEqual(tcp("{ port: 9000, sourceSubnet: 10.0.0.0/8 }", "{ port: 9000 }"), []);
  assert.deepEqual(tcp("{ port: 9000 }", "{ port: 9001 }, { port: 9000 }"), []);
  assert.deepEqual(tcp("{ port: 9000, sourceLabels: { a: b } }", "{ port: 9000 }"), []);
});

test("a name that another VirtualService has for every host is said to be taken", () => {
  const tls = "tls: [{ match: [{ sniHosts: [a.web] }], route: [{ destination: { host: web } }] }]";
  const wild = (name: string, ...hosts: readonly string[]): string =>
    rule(name, `[${[...hosts, '"*.web"'].join(", ")}]`, tls);
  assert.deepEqual(unreachable(wild("one", "web"), wild("two")), [
    "two spec.tls[0].match[0].sniHosts[0]",
  ]);
  assert.deepEqual(unreachable(wild("one", "web"), wild("two", "other")), []);
});
