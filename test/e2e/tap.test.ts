/**
 * `heddle tap` in a running mesh: beside Heddle's proxy it tells what became of requests and why,
 * and nothing that they carried in secret; beside Envoy it says that there is nothing to tell.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { cliOf } from "./support/cli.ts";
import { meshModes, type TestMesh } from "./support/mesh.ts";
import { drive, startMetricsMesh } from "./support/metrics-mesh.ts";

const mode = meshModes[0] ?? "rootless";
const headers = { cookie: "session=secret", authorization: "Bearer secret" };

interface Told {
  readonly proxy: string;
  readonly reason: string;
  readonly path: string;
  readonly status: number;
  readonly policy?: string;
  readonly flags: string;
  readonly phases: Readonly<Record<string, number>>;
}

function objectsOf(lines: string): Told[] {
  return lines
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line));
}

test("tap tells what failed at Heddle's proxies, by which policy, and shows what comes", async () => {
  await using mesh = await startMetricsMesh({ mode, dataPlane: "heddle" });
  const heddle = cliOf(mesh);
  await drive(mesh, [
    { url: "http://server/denied?token=secret", headers },
    { url: "http://plain/status/500?token=secret", headers },
  ]);
  const denied = await heddle("tap server --failed --last 5 --max 1 -o json");
  assert.equal(denied.code, 0, denied.stderr);
  const [refusal] = objectsOf(denied.stdout);
  assert.equal(refusal?.proxy, "server-0.default");
  assert.equal(refusal?.status, 403);
  assert.equal(refusal?.path, "/denied");
  assert.equal(refusal?.policy, "ns[default]-policy[server]-rule[0]");
  const failed = await heddle("tap client --status 5xx --last 5 --max 1 -o json");
  const [failure] = objectsOf(failed.stdout);
  assert.equal(failure?.status, 500, failed.stderr);
  assert.ok((failure?.phases["first_byte"] ?? -1) >= 0);
  assert.doesNotMatch(denied.stdout + failed.stdout, /secret/);
  await watch(mesh);
});

/** What comes while somebody watches is shown, whether it fails or not. */
async function watch(mesh: TestMesh): Promise<void> {
  const watching = cliOf(mesh)("tap server --path /status --method GET --max 1");
  let isOver = false;
  void watching.then(() => (isOver = true));
  // Until it watches, requests are only kept by chance.
  for (let i = 0; i < 60 && !isOver; i++) {
    // oxlint-disable-next-line no-await-in-loop -- one after another
    await drive(mesh, [{ url: "http://server/status/200?bytes=3", headers }]);
  }
  const { stdout, stderr, code } = await watching;
  assert.equal(code, 0, stderr);
  assert.match(stdout, /^server-0\.default  [\d:.]+  in   GET  \S+\/status\/200  200  /);
  assert.doesNotMatch(stdout, /secret/);
}

test("tap says why it shows nothing beside Envoy", async () => {
  await using mesh = await startMetricsMesh({ mode, dataPlane: "envoy" });
  const { code, stderr } = await cliOf(mesh)("tap server");
  assert.notEqual(code, 0);
  assert.match(stderr, /Envoy keeps no records of single requests.*heddle logs --proxy/s);
});
