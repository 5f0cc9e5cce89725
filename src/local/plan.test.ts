import assert from "node:assert/strict";
import { test } from "node:test";

import { parseHeddleFile } from "./heddle-file.ts";
import type { MeshFile } from "./mesh-file.ts";
import { planInstances, planServices, serviceHostname } from "./plan.ts";

function fileOf(text: string): MeshFile {
  const { value, problems } = parseHeddleFile(text, "heddle.yaml", "/x");
  assert.deepEqual(problems, []);
  assert(value !== undefined);
  return value;
}

const two = `
gateways: [{ name: edge, ports: [{ port: 80, hostPort: 8080 }] }]
workloads:
- { name: v1, service: catalog, replicas: 2, command: [a], ports: [{ port: 80, targetPort: 8080 }] }
- { name: v2, service: catalog, command: [b], ports: [{ port: 80 }, { port: 9090, name: grpc }] }
- { name: user, command: [c], dependsOn: [v1] }
`;

test("planInstances() names replicas and knows what each waits for", () => {
  const plans = planInstances(fileOf(two));
  assert.deepEqual(
    plans.map((plan) => plan.key),
    ["istio-system/edge-0", "default/v1-0", "default/v1-1", "default/v2-0", "default/user-0"],
  );
  const user = plans.at(-1);
  assert(user?.role === "workload");
  assert.deepEqual(user.after, ["default/v1-0", "default/v1-1"]);
});

test("planInstances() changes a fingerprint only when the instance must start anew", () => {
  const before = planInstances(fileOf(two));
  const moved = planInstances(fileOf(`\n\n# moved\n${two.replace("replicas: 2", "replicas: 3")}`));
  const changed = planInstances(fileOf(two.replace("[b]", "[b2]")));
  const of = (plans: typeof before, key: string) =>
    plans.find((plan) => plan.key === key)?.fingerprint;
  assert.equal(of(before, "default/v1-0"), of(moved, "default/v1-0"));
  assert.notEqual(of(before, "default/v2-0"), of(changed, "default/v2-0"));
  assert.equal(of(before, "default/user-0"), of(changed, "default/user-0"));
});

test("planServices() unites the ports of workloads that share a service", () => {
  const services = planServices(fileOf(two));
  assert.deepEqual(
    services.map(({ name, namespace, ports, selector }) => [
      name,
      namespace,
      ports.map((port) => `${port.port}>${port.targetPort} ${port.protocol}`),
      selector,
    ]),
    [
      ["catalog", "default", ["80>8080 auto", "9090>9090 grpc"], { app: "catalog" }],
      ["edge", "istio-system", ["80>80 http"], { app: "edge" }],
    ],
  );
});

test("serviceHostname() completes short names", () => {
  assert.equal(serviceHostname("a", "ns", "cluster.local"), "a.ns.svc.cluster.local");
  assert.equal(serviceHostname("a.b", "ns", "cluster.local"), "a.b.svc.cluster.local");
  assert.equal(serviceHostname("x.example.com", "ns", "cluster.local"), "x.example.com");
});
