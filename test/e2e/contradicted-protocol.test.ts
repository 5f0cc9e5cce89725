/** A port whose traffic is not what was declared of it: the problem names the line, and goes with the mistake. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import {
  askConsole,
  capturingModes,
  eventually,
  startMesh,
  type TestMesh,
} from "./support/mesh.ts";

const server = (port: number | string): string =>
  `require("http").createServer((_, answer) => answer.end("hello")).listen(${port})`;

/** The lines of the two ports are asserted. */
const meshFile = (protocol: string, mode: string): string => `mesh: contradicted
console: { port: 0 }
workloads:
- name: client
  command: [{exec}]
  destinations: [{ service: web, port: 9000 }]
- name: web
  command: ["${process.execPath}", "-e", '${server("process.env.PORT")}${mode === "explicit" ? "" : `;${server(9001)}`}']
  ports:
  - port: 9000
    protocol: ${protocol}
${mode === "explicit" ? "" : "  - { port: 9001, name: http-other }\n"}`;

interface Told {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly source?: { readonly file: string; readonly line: number };
}

const told = async (mesh: TestMesh): Promise<readonly Told[]> => {
  const answer = (await (await askConsole(mesh, "/api/config")).json()) as { problems: Told[] };
  return answer.problems.filter(({ code }) => code === "service.protocol-contradicted");
};

for (const mode of [...capturingModes, "explicit"] as const) {
  test(`a contradicted protocol is reported with the line to change, ${mode}`, async () => {
    await using mesh = await startMesh({
      mode,
      processes: "heddle",
      files: { "heddle.yaml": meshFile("tcp", mode) },
    });
    const ask = async (url: string): Promise<string> =>
      (await mesh.workload("client-0").exec(`curl --noproxy '*' -sk -m 20 ${url}`)).stdout;
    const problemAt = (line: number): Promise<Told> =>
      eventually(
        `a problem at line ${line}`,
        async () => (await told(mesh)).find(({ source }) => source?.line === line) ?? false,
        30_000,
      );
    assert.equal(await ask(`http://${mode === "explicit" ? "$WEB_ADDR" : "web:9000"}/`), "hello");
    const plain = await problemAt(11);
    assert.equal(plain.source?.file, join(mesh.directory, "heddle.yaml"));
    assert.match(
      plain.message,
      /^web\.default\.svc\.cluster\.local:9000 is declared tcp, .* HTTP\/1\.1: /,
    );
    assert.equal(plain.hint, "write protocol: http");
    if (mode === "explicit") return;
    assert.equal(await ask("https://web:9001/"), "");
    const encrypted = await problemAt(12);
    assert.match(
      encrypted.message,
      /:9001 is declared http, .* speak TLS: such connections are refused$/,
    );
    assert.equal(encrypted.hint, "write protocol: tls");
    // What was declared rightly makes none.
    mesh.write("heddle.yaml", meshFile("http", mode));
    await eventually("one mistake is mended", async () => (await told(mesh)).length === 1);
  });
}
