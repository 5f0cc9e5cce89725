/** Istio's lookup of DestinationRules, as a table: what stands in which namespace, and who gets what. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import { destinationRuleFor } from "./destination-rules.ts";

const head = `case:
  proxy: web-0.shop
  workloads:
    - { name: web, namespace: shop }
    - { name: api, namespace: back, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
`;

interface Written {
  readonly name: string;
  /** The service's, unless it is said. */
  readonly namespace?: string;
  readonly host?: string;
  readonly exportTo?: readonly string[];
  readonly workloadSelector?: { readonly matchLabels: Readonly<Record<string, string>> };
  readonly subsets?: readonly { readonly name: string }[];
}

const hostname = "api.back.svc.cluster.local";

function check(
  rules: readonly Written[],
  client: { readonly namespace: string; readonly labels?: Readonly<Record<string, string>> },
  expected: readonly string[],
): void {
  const documents = rules.map(({ name, namespace = "back", host = hostname, ...spec }) => {
    const resource = {
      apiVersion: "networking.istio.io/v1",
      kind: "DestinationRule",
      metadata: { name, namespace },
      spec: { host, ...spec },
    };
    return `---\n${JSON.stringify(resource)}\n`;
  });
  const { model } = parseMeshCase(head + documents.join(""), "mesh.yaml");
  const service = { hostname, namespace: "back" };
  const found = destinationRuleFor(model, service, { labels: {}, ...client });
  const what = `${JSON.stringify(rules)} for ${JSON.stringify(client)}`;
  assert.deepEqual(found?.rules.map(({ name }) => name) ?? [], expected, what);
}

const meshWide = { name: "mesh-wide", namespace: "istio-system", host: "*.local" };
const shop = { namespace: "shop" };
const root = { namespace: "istio-system" };
const front = { namespace: "shop", labels: { tier: "front" } };

test("destinationRuleFor() asks the client's namespace, then the service's, then the root namespace", () => {
  const ofClient = { name: "client", namespace: "shop" };
  check([meshWide, { name: "service" }, ofClient], shop, ["client"]);
  check([meshWide, { name: "service" }], shop, ["service"]);
  check([meshWide], shop, ["mesh-wide"]);
  check([{ name: "stranger", namespace: "other" }], shop, []);
});

test("destinationRuleFor() gives clients in the root namespace a service's own rule before that of the mesh", () => {
  check([meshWide, { name: "service" }], root, ["service"]);
  check([meshWide], root, ["mesh-wide"]);
  const own = { name: "own", namespace: "istio-system", exportTo: ["."] };
  check([own, meshWide, { name: "service" }], root, ["own"]);
  check([own, meshWide, { name: "service" }], shop, ["service"]);
  check([own, meshWide], shop, ["mesh-wide"]);
});

test("destinationRuleFor() takes the closest host of a namespace", () => {
  const wide = { name: "wide", host: "*.back.svc.cluster.local" };
  const wider = { name: "wider", host: "*.local" };
  check([wider, wide], shop, ["wide"]);
  check([wider, { name: "exact" }, wide], shop, ["exact"]);
  check([{ name: "all", host: "*" }], shop, ["all"]);
});

test("destinationRuleFor() shows a rule to those whom it is exported to", () => {
  check([{ name: "private", exportTo: ["."] }], shop, []);
  check([{ name: "private", exportTo: ["."] }], { namespace: "back" }, ["private"]);
  check([{ name: "named", exportTo: ["shop"] }], shop, ["named"]);
  // Its own namespace is not among them.
  check([{ name: "named", exportTo: ["shop"] }], { namespace: "back" }, []);
  check([{ name: "nobody", exportTo: ["~"] }, meshWide], shop, ["mesh-wide"]);
  // What is private hides nothing from others; what is exported to others hides what is less close.
  const wide = { name: "wide", host: "*.local" };
  check([{ name: "private", exportTo: ["."] }, wide], shop, ["wide"]);
  check([{ name: "named", exportTo: ["other"] }, wide, meshWide], shop, ["mesh-wide"]);
});

test("destinationRuleFor() merges rules that are exported alike, else the last holds", () => {
  check([{ name: "a" }, { name: "b" }], shop, ["a", "b"]);
  check(
    [
      { name: "a", exportTo: ["shop", "x"] },
      { name: "b", exportTo: ["x", "shop"] },
    ],
    shop,
    ["a", "b"],
  );
  check([{ name: "a" }, { name: "b", exportTo: ["shop"] }], shop, ["b"]);
});

test("destinationRuleFor() asks for a workload's labels in its own namespace alone", () => {
  const workloadSelector = { matchLabels: { tier: "front" } };
  const chosen = { name: "chosen", namespace: "shop", workloadSelector };
  const general = { name: "general", namespace: "shop" };
  check([chosen, general], front, ["chosen"]);
  check([chosen, general], shop, ["general"]);
  // As in Istio, a namespace with rules for the host asks no other, whomever they select.
  check([chosen, { name: "service" }], shop, []);
  check([{ ...chosen, host: "*.local" }, general], front, ["general"]);
  check([{ name: "foreign", workloadSelector }], front, []);
  check([chosen, { ...chosen, name: "same" }], front, ["chosen", "same"]);
  const all = { ...chosen, name: "all", workloadSelector: { matchLabels: {} } };
  check([chosen, all], front, ["all"]);
});
