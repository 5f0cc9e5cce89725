/**
 * What a user who only looks at the terminal of `heddle up`, or at one command's answer, must not miss:
 * files that break or are mended while the mesh runs, metrics that nobody can read, which of several
 * replicas is shown, and how a mesh has ended.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { freePort } from "../support/free-port.ts";
import { type CliResult, cliOf } from "./support/cli.ts";
import { faultMode, startFaultMesh } from "./support/faults.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

const meshFile = `
mesh: told
console: { port: 0 }
workloads:
- name: server
  replicas: 2
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
`;

function route(host: string): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server }
spec:
  hosts: [server]
  http: [{ route: [{ destination: { host: ${host} } }] }]
`;
}

describe(`what is told without being asked, ${faultMode}`, () => {
  let mesh: TestMesh;
  let heddle: (line: string) => Promise<CliResult>;
  before(async () => {
    mesh = await startFaultMesh("heddle", { "heddle.yaml": meshFile, "a.yaml": route("server") });
    heddle = cliOf(mesh);
  });
  after(async () => await mesh.stop());

  /** Sentences on the terminal since the last time they were read. */
  const steps = (): readonly string[] =>
    [...mesh.output().matchAll(/^\{"step":.*\}$/gm)].map(([line]) => {
      const { step }: { readonly step: string } = JSON.parse(line);
      return step;
    });

  test("a file that breaks, and that it is mended, with its place and a remedy", async () => {
    const before = steps().length;
    const broken =
      "a.yaml:6:43: error virtualservice.host-not-found: VirtualService default/server: ";
    mesh.write("a.yaml", route("servre"));
    const text = await eventually("it is told", () =>
      steps().find((one) => one.startsWith(broken)),
    );
    assert.match(text, /no service is called servre\.default.*; did you mean server\?$/);
    mesh.write("b.yaml", "kind: [\n");
    await eventually("a second file", () => steps().some((one) => one.startsWith("b.yaml:")));
    mesh.write("b.yaml", "");
    mesh.write("a.yaml", route("server"));
    const mended = "nothing is wrong with the configuration any more";
    await eventually("it is mended", () => steps().includes(mended));
    const told = steps().slice(before);
    assert.equal(told.filter((one) => one.startsWith(broken)).length, 1, told.join("\n"));
    assert(told.some((one) => one.startsWith("mended: a.yaml: virtualservice.host-not-found: ")));
    assert(told.some((one) => one.startsWith("mended: b.yaml: ")));
  });

  test("which of several replicas a command shows", async () => {
    for (const line of ["pc all server", "pc endpoints server -o json", "pc memory server"]) {
      const { stderr } = await heddle(line);
      assert.equal(stderr, "this is server-0.default; for another name one of server-1.default\n");
    }
    assert.equal((await heddle("pc clusters server-1")).stderr, "");
  });

  test("that an external Prometheus is not there, and why", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    mesh.write("heddle.yaml", `${meshFile}metrics: { prometheus: "${url}" }\n`);
    const { stdout } = await eventually("status says so", async () => {
      const status = await heddle("status");
      return status.code === 1 && status;
    });
    assert.match(
      stdout,
      /^metrics: Prometheus at http:\/\/127\.0\.0\.1:\d+ does not answer: .*refused/im,
    );
    mesh.write("heddle.yaml", meshFile);
    await eventually("the embedded store is back", async () => (await heddle("status")).code === 0);
  });
});

test("a supervisor that was killed: the terminal says so, and points at no empty file", async () => {
  const mesh = await startFaultMesh("heddle", { "heddle.yaml": meshFile });
  try {
    process.kill(mesh.supervisorPid, "SIGKILL");
    const said = await eventually("it ends", () => /^heddle: .*$/m.exec(mesh.output())?.[0]);
    assert.match(
      said,
      /the mesh ended by SIGKILL; somebody has killed its first process, or the kernel/,
    );
  } finally {
    await mesh.stop();
  }
});
