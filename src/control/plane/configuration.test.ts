import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { parseDocuments } from "../../model/documents.ts";
import { AppliedStore } from "./applied-store.ts";
import { Configuration } from "./configuration.ts";

const service = (host: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: p }
spec: { hosts: [${host}] }
`;

const policy = (action: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: p }
spec: { action: ${action}, rules: [{}] }
`;

const options = { dryRun: false, file: "shell.yaml" };

for (const [what, kind, applied, inFile, broken] of [
  ["another kind", "ServiceEntry", service("a"), service("b"), service("[]")],
  ["a policy", "AuthorizationPolicy", policy("DENY"), policy("ALLOW"), policy("AUDIT")],
] as const) {
  test(`Configuration lets ${what} that was applied go on when a file takes its name`, () => {
    const directory = mkdtempSync(join(tmpdir(), "heddle-applied-"));
    try {
      const configuration = new Configuration(new AppliedStore(directory));
      const setFile = (text: string): void =>
        configuration.setFiles(parseDocuments(text, "mesh.yaml"));
      configuration.carryOut(configuration.plan(applied, options));
      setFile(inFile);
      const [acting, ...others] = configuration.current.resources;
      assert.deepEqual([acting?.text, others, configuration.current.broken], [applied, [], []]);
      const [problem] = configuration.current.problems;
      assert.equal(problem?.code, "apply.shadowed");
      assert.deepEqual(problem.source, { file: "mesh.yaml", line: 1, column: 1 });
      assert.match(problem.message, new RegExp(`${kind} default/p was applied \\(/.*:1\\)`));
      assert.deepEqual(
        configuration.show({}, []).map(({ origin }) => origin),
        ["applied"],
      );
      setFile(broken);
      assert.deepEqual(configuration.current.broken, [], "what was applied is the last good one");
      setFile(inFile);
      const restarted = new Configuration(new AppliedStore(directory));
      restarted.setFiles(parseDocuments(inFile, "mesh.yaml"));
      assert.equal(restarted.current.resources[0]?.text, applied, "after a restart");
      const plan = configuration.planRemoval({ kind, namespace: "default", name: "p" });
      assert.deepEqual(plan.problems, []);
      configuration.carryOut(plan);
      assert.equal(configuration.current.resources[0]?.text, inFile, "when it is deleted");
      const again = configuration.plan(applied, options);
      assert.deepEqual(
        again.problems.map(({ code }) => code),
        ["apply.in-file"],
      );
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
}
