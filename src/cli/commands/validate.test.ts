import assert from "node:assert/strict";
import { test } from "node:test";

import { validate } from "./validate.ts";

const policy = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;

test("validate() counts resources and finds a name used in two files", () => {
  const validation = validate([
    { file: "a.yaml", text: policy },
    { file: "b.yaml", text: policy },
  ]);
  assert.equal(validation.resources, 2);
  assert.deepEqual(
    validation.problems.map(({ code, source }) => [code, source?.file, source?.line]),
    [["config.duplicate-name", "b.yaml", 1]],
  );
});

test("validate() reports every problem with its place", () => {
  const text = policy.replace("STRICT", "STRIKT").replace("spec:", "sepc: {}\nspec:");
  const { problems } = validate([{ file: "a.yaml", text }]);
  assert.ok(problems.length >= 2, JSON.stringify(problems));
  for (const problem of problems) assert.equal(problem.source?.file, "a.yaml");
});
