import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import { parseDocuments } from "../../model/documents.ts";
import { newTranslator } from "../translate.ts";
import { ChangeEffects } from "./change-effects.ts";
import type { ConfigSet } from "./configuration.ts";

const head = `case:
  proxy: web-0.default
  workloads:
    - { name: web, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
    - { name: cart, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
    - { name: bank, namespace: bank, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
    - { name: ingress, role: gateway, labels: { istio: ingress }, ports: [{ port: 80, targetPort: 80, protocol: http }] }
`;

const everyone = ["web-0.default", "cart-0.default", "bank-0.bank", "ingress-0.default"];
const nothing: ConfigSet = { resources: [], broken: [], problems: [] };

function effectsOf(): ChangeEffects {
  const { model } = parseMeshCase(head, "case.yaml");
  return new ChangeEffects({
    newTranslate: newTranslator,
    modelOf: ({ resources }) =>
      parseMeshCase(head + resources.map(({ text }) => `---\n${text}`).join(""), "case.yaml").model,
    proxies: () => new Map(model.instances.map((one) => [`${one.name}.${one.namespace}`, one])),
    pause: () => Promise.resolve(),
  });
}

const resource = (group: string, kind: string, spec: string): ConfigSet =>
  parseDocuments(
    `apiVersion: ${group}.istio.io/v1\nkind: ${kind}\nmetadata: { name: x }\nspec: ${spec}\n`,
    "x.yaml",
  );

const networking = (kind: string, spec: string): ConfigSet => resource("networking", kind, spec);
const security = (kind: string, spec: string): ConfigSet => resource("security", kind, spec);

const route = "http: [{ timeout: 1s, route: [{ destination: { host: cart } }] }]";
const forCart = "selector: { matchLabels: { app: cart } }";

for (const [what, config, expected] of [
  [
    "a route seen by one namespace",
    networking("VirtualService", `{ hosts: [cart], exportTo: ["."], ${route} }`),
    everyone.slice(0, 2),
  ],
  [
    "a policy of connections",
    networking("DestinationRule", "{ host: cart, trafficPolicy: { tls: { mode: DISABLE } } }"),
    everyone,
  ],
  [
    "a mode that callers need not know",
    security("PeerAuthentication", `{ ${forCart}, mtls: { mode: STRICT } }`),
    [everyone[1]],
  ],
  [
    "a mode that callers must know",
    security("PeerAuthentication", `{ ${forCart}, mtls: { mode: DISABLE } }`),
    everyone,
  ],
  ["what changes nothing", security("PeerAuthentication", "{ mtls: { mode: PERMISSIVE } }"), []],
] as const) {
  test(`concerned() names the same proxies when ${what} comes, stays and goes`, async () => {
    assert.equal(config.resources.length, 1);
    for (const [before, after] of [
      [nothing, config],
      [config, config],
      [config, nothing],
    ] as const) {
      const effects = effectsOf();
      effects.remember({ refs: config.resources, before, after });
      const concerned = await effects.concerned(config.resources);
      assert.deepEqual(concerned, new Set(expected));
    }
  });
}

test("concerned() knows nothing of what was never applied", async () => {
  const { resources } = security("PeerAuthentication", "{}");
  assert.equal(await effectsOf().concerned(resources), undefined);
});
