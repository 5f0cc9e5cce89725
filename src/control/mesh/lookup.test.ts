/** Istio's order of VirtualServices, as a table: what stands in which namespace, and whose routes hold. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import type { MeshModel } from "../mesh-model.ts";
import { gatewayVirtualServices, httpVirtualServices, virtualServicesFor } from "./lookup.ts";

const head = `case:
  proxy: web-0.shop
  workloads:
    - { name: web, namespace: shop }
    - { name: api, namespace: back, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
    - { name: gate, namespace: gates, role: gateway, labels: { istio: gate } }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: gate, namespace: back }
spec:
  selector: { istio: gate }
  servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }]
`;

interface Written {
  readonly name: string;
  /** The service's, unless it is said. */
  readonly namespace?: string;
  readonly hosts?: readonly string[];
  readonly exportTo?: readonly string[];
  readonly gateways?: readonly string[];
}

const hostname = "api.back.svc.cluster.local";

function meshOf(rules: readonly Written[]): {
  readonly model: MeshModel;
  readonly problems: readonly string[];
} {
  const documents = rules.map(({ name, namespace = "back", hosts = [hostname], ...spec }) => {
    const resource = {
      apiVersion: "networking.istio.io/v1",
      kind: "VirtualService",
      metadata: { name, namespace },
      spec: { hosts, http: [{ route: [{ destination: { host: hostname } }] }], ...spec },
    };
    return `---\n${JSON.stringify(resource)}\n`;
  });
  const { model, problems } = parseMeshCase(head + documents.join(""), "mesh.yaml");
  const told = problems.map(({ code, resource }) => `${code} ${resource?.name}`);
  return { model, problems: told.filter((one) => !one.startsWith("gateway.")) };
}

function check(rules: readonly Written[], namespace: string, expected: readonly string[]): void {
  const { model } = meshOf(rules);
  const client = { namespace, labels: {} };
  const found = httpVirtualServices(model, client, hostname).map(({ name }) => name);
  assert.deepEqual(found, expected, `${JSON.stringify(rules)} from ${namespace}`);
}

const forAll = { name: "a-for-all" };
const named = { name: "b-named", exportTo: ["shop"] };
const own = { name: "c-own", namespace: "shop", exportTo: ["."] };

test("httpVirtualServices() prefers what is private, then what is exported by name, then what is for all", () => {
  check([forAll, named, own], "shop", ["c-own", "b-named", "a-for-all"]);
  check([forAll, named, own], "back", ["a-for-all"]);
  check([{ ...own, exportTo: ["shop"] }, forAll], "shop", ["c-own", "a-for-all"]);
  // In the client's namespace, but for all: its turn is that of the others.
  check([{ name: "z", namespace: "shop" }, forAll], "shop", ["a-for-all", "z"]);
  check([{ name: "nobody", exportTo: ["~", "."] }], "back", []);
});

test("httpVirtualServices() takes the closest host, and of wildcards one alone", () => {
  const wide = { name: "wide", hosts: ["*.cluster.local"] };
  const closer = { name: "closer", hosts: ["*.back.svc.cluster.local"] };
  check([wide, closer, { ...closer, name: "second" }], "shop", ["closer"]);
  check([wide, closer, forAll], "shop", ["a-for-all"]);
});

test("virtualServicesFor() asks nobody how close their hosts are", () => {
  const wide = { name: "a-wide", hosts: ["*.cluster.local"] };
  const { model } = meshOf([wide, { name: "b-exact" }, own]);
  const found = virtualServicesFor(model, { namespace: "shop", labels: {} }, hostname);
  assert.deepEqual(
    found.map(({ name }) => name),
    ["c-own", "a-wide", "b-exact"],
  );
});

test("gatewayVirtualServices() are those that the gateway's own namespace sees", () => {
  const gateways = ["back/gate"];
  const rules = [
    { name: "a", gateways },
    { name: "b", gateways, exportTo: ["gates"] },
    { name: "c", gateways, exportTo: ["."] },
    { name: "d" },
  ];
  const { model, problems } = meshOf(rules);
  const [gateway] = model.resources.Gateway;
  assert(gateway !== undefined);
  const found = gatewayVirtualServices(model, gateway, { namespace: "gates" });
  assert.deepEqual(
    found.map(({ name }) => name),
    ["b", "a"],
  );
  assert.deepEqual(problems, ["config.no-effect c"]);
});

test("checkMesh() reports a host of two VirtualServices where nobody gets the second", () => {
  const found = (rules: readonly Written[]): readonly string[] => meshOf(rules).problems;
  const duplicate = "virtualservice.duplicate-host";
  assert.deepEqual(found([forAll, { name: "z" }]), [`${duplicate} z`]);
  assert.deepEqual(found([forAll, named, own]), []);
  assert.deepEqual(found([own, { ...own, name: "z" }]), [`${duplicate} z`]);
  assert.deepEqual(found([named, { name: "z", exportTo: ["shop", "."] }]), []);
});
