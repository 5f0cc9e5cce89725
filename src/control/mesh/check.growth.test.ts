/** What the checks cost grows with the mesh, not with its square: counted in what is looked at, not in time. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import type { MeshModel, MeshService } from "../mesh-model.ts";
import { resourcesOfEach } from "../mesh-model.ts";
import { checkMesh } from "./check.ts";

/** A mesh of `count` services, each with an instance, rules of every kind, a policy and a Gateway's host. */
function meshOf(count: number): MeshModel {
  const names = Array.from({ length: count }, (_, index) => `s${index}`);
  const workloads = names.map(
    (name) =>
      `    - { name: ${name}, namespace: n${name.length}, labels: { version: v1 }, ports: [{ port: 80, targetPort: 8080, protocol: http }] }`,
  );
  const documents = names.flatMap((name) => {
    const namespace = `n${name.length}`;
    const group = (apiGroup: string, kind: string, spec: object): string =>
      `---\n${JSON.stringify({ apiVersion: `${apiGroup}.istio.io/v1`, kind, metadata: { name, namespace }, spec })}\n`;
    const destination = { host: name, subset: "v1" };
    const version = { version: "v1" };
    return [
      group("networking", "DestinationRule", {
        host: name,
        subsets: [{ name: "v1", labels: version }],
      }),
      group("networking", "VirtualService", {
        hosts: [name, `${name}.example.com`],
        gateways: ["mesh", "gate/gate"],
        http: [{ route: [{ destination }] }],
      }),
      group("networking", "ServiceEntry", {
        hosts: [`${name}.outside.example`],
        ports: [{ number: 9000, name: "tcp", protocol: "TCP" }],
        resolution: "DNS",
      }),
      group("security", "AuthorizationPolicy", {
        selector: { matchLabels: { app: name } },
        rules: [{ to: [{ operation: { methods: ["GET"] } }] }],
      }),
    ];
  });
  const gateway = {
    selector: { istio: "gate" },
    servers: [
      {
        port: { number: 80, name: "http", protocol: "HTTP" },
        hosts: names.map((name) => `${name}.example.com`),
      },
    ],
  };
  const text = `case:
  proxy: s0-0.n2
  workloads:
    - { name: gate, namespace: gate, role: gateway, labels: { istio: gate }, ports: [{ port: 80, targetPort: 80, protocol: http }] }
${workloads.join("\n")}
---
${JSON.stringify({ apiVersion: "networking.istio.io/v1", kind: "Gateway", metadata: { name: "gate", namespace: "gate" }, spec: gateway })}
${documents.join("")}`;
  const { model, problems } = parseMeshCase(text, "mesh.yaml");
  assert.deepEqual(problems, []);
  return model;
}

/** The same model, where each look at a resource, service or instance and each step in their lists counts. */
function counted(model: MeshModel): { readonly model: MeshModel; readonly steps: () => number } {
  let steps = 0;
  const watched = <One extends object>(one: One): One =>
    new Proxy(one, {
      get: (target, name, receiver): unknown => {
        steps += 1;
        return Reflect.get(target, name, receiver);
      },
    });
  const list = <One extends object>(items: readonly One[]): readonly One[] =>
    watched(items.map(watched));
  const instances = new Map(model.instances.map((one) => [one, watched(one)]));
  const services = [...model.services].map(([name, service]) => {
    const own = service.instances.map((one) => instances.get(one) ?? one);
    return [name, watched({ ...service, instances: watched(own) })] as const;
  });
  class Services extends Map<string, MeshService> {
    override *keys(): MapIterator<string> {
      for (const key of super.keys()) {
        steps += 1;
        yield key;
      }
    }
  }
  return {
    model: {
      ...model,
      instances: watched([...instances.values()]),
      services: new Services(services),
      resources: resourcesOfEach((kind) => list(model.resources[kind])),
    },
    steps: () => steps,
  };
}

test("checkMesh() looks at four times as much in a mesh of four times the size", () => {
  const stepsFor = (count: number): number => {
    const { model, steps } = counted(meshOf(count));
    assert.deepEqual(checkMesh(model), []);
    return steps();
  };
  const [some, more] = [stepsFor(250), stepsFor(1000)];
  assert(more < some * 4.4, `${some} steps for 250 services, ${more} for 1,000`);
});
