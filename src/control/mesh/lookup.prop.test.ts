/** The tables over a mesh find what a scan of all its rules finds. */
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import {
  destinationRulesByScan,
  virtualServicesByScan,
} from "../../../test/support/oracle/mesh-rules.ts";
import { hostMatches } from "../../model/matching.ts";
import { destinationRuleFor } from "./destination-rules.ts";
import { hostnamesUnder, httpVirtualServices, virtualServicesFor } from "./lookup.ts";

const namespaces = ["shop", "back", "istio-system"];
const namespace = fc.constantFrom(...namespaces);
const host = fc.constantFrom(
  "api",
  "api.back.svc.cluster.local",
  "api.shop.svc.cluster.local",
  "*.back.svc.cluster.local",
  "*.svc.cluster.local",
  "*.local",
  "*",
  "www.example.com",
  "*.example.com",
  "*.com",
);
const exportTo = fc.option(
  fc.uniqueArray(fc.constantFrom("*", ".", "~", ...namespaces), { maxLength: 2 }),
  { nil: undefined },
);
const labels = fc.dictionary(fc.constantFrom("a", "b"), fc.constantFrom("1", "2"), { maxKeys: 2 });

const destinationRule = fc.record(
  { host, exportTo, workloadSelector: fc.record({ matchLabels: labels }) },
  { requiredKeys: ["host"] },
);
const virtualService = fc.record(
  {
    hosts: fc.array(host, { minLength: 1, maxLength: 3 }),
    exportTo,
    gateways: fc.constantFrom(["mesh"], ["gate"], ["gate", "mesh"]),
    http: fc.constant([{ route: [{ destination: { host: "api" } }] }]),
  },
  { requiredKeys: ["hosts", "http"] },
);
const resource = fc.oneof(
  fc.record({ kind: fc.constant("DestinationRule"), namespace, spec: destinationRule }),
  fc.record({ kind: fc.constant("VirtualService"), namespace, spec: virtualService }),
);

const head = `case:
  proxy: api-0.shop
  workloads:
    - { name: api, namespace: shop, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
    - { name: api, namespace: back, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: outside, namespace: back }
spec:
  hosts: ["www.example.com", "*.example.com"]
  ports: [{ number: 80, name: http, protocol: HTTP }]
`;

const runs = { numRuns: 300 };

test("rules found by host are those that a scan finds, in its order", () => {
  const client = fc.record({ namespace: fc.constantFrom(...namespaces, "other"), labels });
  fc.assert(
    fc.property(fc.array(resource, { maxLength: 12 }), client, (resources, one) => {
      const documents = resources.map(({ kind, spec, namespace: place }, index) => {
        const metadata = { name: `r${String(index).padStart(2, "0")}`, namespace: place };
        const apiVersion = "networking.istio.io/v1";
        return `---\n${JSON.stringify({ apiVersion, kind, metadata, spec })}\n`;
      });
      const { model } = parseMeshCase(head + documents.join(""), "mesh.yaml");
      const nameOf = (rule: { readonly namespace: string; readonly name: string }): string =>
        `${rule.namespace}/${rule.name}`;
      for (const service of model.services.values()) {
        const { hostname } = service;
        const rules = destinationRuleFor(model, service, one)?.rules ?? [];
        assert.deepEqual(rules.map(nameOf), destinationRulesByScan(model, service, one));
        const scanned = virtualServicesByScan(model, one, hostname);
        const names = scanned.map(({ name }) => name);
        assert.deepEqual(virtualServicesFor(model, one, hostname).map(nameOf), names);
        const best = Math.max(...scanned.map(({ closeness }) => closeness));
        const closest = scanned.filter(({ closeness }) => closeness === best);
        assert.deepEqual(
          httpVirtualServices(model, one, hostname).map(nameOf),
          (best === Infinity ? closest : closest.slice(0, 1)).map(({ name }) => name),
        );
      }
    }),
    runs,
  );
});

test("hostnamesUnder() gives the services that a host covers", () => {
  const { model } = parseMeshCase(head, "mesh.yaml");
  fc.assert(
    fc.property(host, (one) => {
      const expected = [...model.services.keys()].filter((name) => hostMatches(one, name));
      assert.deepEqual(hostnamesUnder(model, one), expected);
    }),
    runs,
  );
});
