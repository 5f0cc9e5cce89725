import assert from "node:assert/strict";
import { test } from "node:test";

import { parseMeshCase } from "../../../test/support/mesh-case.ts";
import { mtlsModeFor } from "./security.ts";

const head = `case:
  proxy: web-0.shop
  workloads:
    - { name: web, namespace: shop, ports: [{ port: 80, targetPort: 8080, protocol: http }] }
`;

/** The mode at a port of `web` in `shop` under these policies: namespace and spec of each. */
function modeAt(port: number, ...policies: readonly (readonly [string, string])[]): string {
  const documents = policies.map(
    ([namespace, spec], index) =>
      `---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: { name: p${index}, namespace: ${namespace} }\nspec: ${spec}\n`,
  );
  const { model, proxy } = parseMeshCase(head + documents.join(""), "p.yaml");
  return mtlsModeFor(model, proxy, port);
}

const mode = (text: string): string => `{ mtls: { mode: ${text} } }`;
const ofWeb = (rest: string): string => `{ selector: { matchLabels: { app: web } }, ${rest} }`;
const root = "istio-system";

test("mtlsModeFor() goes from wide to narrow, whatever the order of the policies", () => {
  const widths = [
    [root, mode("STRICT")],
    ["shop", mode("DISABLE")],
    ["shop", ofWeb("mtls: { mode: STRICT }, portLevelMtls: { 8080: { mode: PERMISSIVE } }")],
  ] as const;
  for (const order of [widths, widths.toReversed()]) {
    assert.equal(modeAt(8080, ...order), "PERMISSIVE");
    assert.equal(modeAt(9000, ...order), "STRICT");
  }
  assert.equal(modeAt(8080), "PERMISSIVE");
  assert.equal(modeAt(8080, [root, mode("STRICT")]), "STRICT");
  assert.equal(modeAt(8080, [root, mode("STRICT")], ["shop", mode("DISABLE")]), "DISABLE");
});

test("mtlsModeFor() inherits what is unset, and nothing of other workloads and namespaces", () => {
  assert.equal(modeAt(8080, [root, mode("STRICT")], ["shop", mode("UNSET")]), "STRICT");
  assert.equal(modeAt(8080, ["elsewhere", mode("STRICT")]), "PERMISSIVE");
  const other = "{ selector: { matchLabels: { app: other } }, mtls: { mode: DISABLE } }";
  assert.equal(modeAt(8080, [root, mode("STRICT")], ["shop", other]), "STRICT");
});
