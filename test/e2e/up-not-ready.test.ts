/**
 * `heddle up` does not wait for what cannot become ready: it prints its addresses within seconds, with
 * a line for each workload that fails, and says so when everything is ready after all.
 */
import assert from "node:assert/strict";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { cliOf, runCli } from "./support/cli.ts";
import { eventually, meshModes, startMesh } from "./support/mesh.ts";

const good = `mesh: not-ready
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
`;
const bad = `
- { name: typo, command: [no-such-program] }
- name: broken
  command: [sh, -c, "echo starting; echo 'Error: no database' >&2; exit 3"]
  ports: [{ port: 81, targetPort: 8080, protocol: HTTP }]
- { name: homeless, command: [sleep, "1000"], workingDirectory: nowhere }
- { name: behind, command: [sleep, "1000"], dependsOn: [broken] }
`;
const late = `
- name: late
  command: [sh, -c, "echo 'Error: no luck' >&2; sleep 2; exit 5"]
  ports: [{ port: 82, targetPort: 8080, protocol: HTTP }]
`;
/** A first start may take this long on a busy machine; waiting for the four above would take 60 s. */
const soonMs = 50_000;

for (const mode of meshModes) {
  describe(`what cannot become ready, ${mode}`, () => {
    test("up says what fails and why, and goes on", async () => {
      await using mesh = await startMesh({
        mode,
        processes: "heddle",
        isPartly: true,
        files: { "heddle.yaml": `${good}${bad}` },
      });
      assert(mesh.readyMs < soonMs, `after ${mesh.readyMs} ms`);
      const { notReady } = readyLine(mesh.output());
      assert.equal(notReady.length, 4, notReady.join("\n"));
      const [typo = "", broken = "", homeless = "", behind = ""] = notReady;
      assert.match(typo, /^typo-0: the application .*next start in .*no-such-program|ENOENT/);
      assert.match(
        broken,
        /^broken-0: the application ended with code 3(?:; next start in [\d.]+ m?s| and was started again; it does not listen on port \d+ yet); it wrote: Error: no database; 'heddle logs broken-0' shows more$/,
      );
      assert.match(homeless, /^homeless-0: .*there is no folder \S+\/nowhere; next start in/);
      assert.match(behind, /^behind-0: it waits for what it depends on: broken-0/);
      const { code, stdout } = await cliOf(mesh)("status");
      assert.equal(code, 1);
      assert.match(stdout, /server-0 +ready/);
      assert.match(stdout, /broken-0 +\w+ \(the application .*\)/);
      mesh.write("heddle.yaml", `${good}${late}`);
      await eventually("a later start does not hide why the one before ended", async () =>
        /late-0 +starting \(the application ended with code 5 and was started again; it does not listen on port \d+ yet; it wrote: Error: no luck\)/.test(
          (await cliOf(mesh)("status")).stdout,
        ),
      );
      mesh.write("heddle.yaml", good);
      await eventually("it says that everything is ready", () =>
        /"ready":true/.test(mesh.output()),
      );
    });
  });
}

test("up --detach prints problems and what fails, and its exit status tells", async () => {
  const mesh = await startMesh({
    mode: "explicit",
    processes: "heddle",
    files: { "heddle.yaml": good },
  });
  await using _ = mesh;
  const folder = join(mesh.directory, "other");
  const file = join(folder, "compose.yaml");
  const compose = (image: string): string => `name: detached
services:
  web:
    ${image}
    command: ["false"]
`;
  mesh.write("other/heddle.yaml", "");
  rmSync(join(folder, "heddle.yaml"));
  writeFileSync(file, compose("image: web"));
  const rules = "apiVersion: networking.istio.io/v1\nkind: VirtualServis\nmetadata: { name: a }\n";
  writeFileSync(join(folder, "rules.yaml"), rules);
  const stateDir = join(mesh.stateDir, "other");
  const up = ["up", folder, "--detach", "--mode=explicit"];
  try {
    const { code, stdout, stderr } = await runCli(stateDir, up);
    assert.equal(code, 1, stdout + stderr);
    assert.match(stderr, /compose\.yaml:4:12: warning heddle-file\.container: image has no effect/);
    assert.match(
      stdout,
      /running, but not all is ready:\n +web-0: the application ended with code 1/,
    );
    assert.match(
      stdout,
      /^ +rules\.yaml:2:7: error config\.unknown-kind: .*; did you mean VirtualService\?$/m,
    );
    assert.match(stdout, /console {2}http:/);
    // A folder of its own is not found by a command that is not told of it.
    assert(stdout.includes(`heddle status --state-dir ${stateDir}\n`), stdout);
    assert((await runCli(stateDir, ["status"])).stdout.includes(`${file}:4:12: warning`));
    const again = await runCli(stateDir, up);
    assert.equal(again.code, 1);
    assert.match(again.stderr, /^heddle: this mesh already runs, as process \d+ from/);
  } finally {
    await runCli(stateDir, ["down"]);
  }
  writeFileSync(file, compose("volumes: [data]"));
  const refused = await runCli(stateDir, up);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /compose\.yaml:4:14: error heddle-file\.container: volumes needs/);
});

function readyLine(output: string): { readonly notReady: readonly string[] } {
  const [line = "{}"] = /^\{"ready".*$/m.exec(output) ?? [];
  return JSON.parse(line);
}
