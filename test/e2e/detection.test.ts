/**
 * Connections whose protocol nobody declared never stall, and are not taken for less than they are: a server
 * that speaks first is heard wherever it stands, a silent client of HTTP stays one, HTTP/2 is routed by request.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

import { capturingModes, eventually, startMesh } from "./support/mesh.ts";
import { outsideTcp } from "./support/outside.ts";
import { capturedCases, enterNetworkOf, insidePid } from "./support/security-mesh.ts";

const application = (file: string, spec: string): string =>
  `["${process.execPath}", "${join(import.meta.dirname, "support", file)}", "${spec}", {exec}]`;

/** `outside`: a number on which something else speaks first outside of the mesh. */
const meshFile = (outside: number, settings: string): string => `
mesh: detection
console: { port: 0 }
${settings}
workloads:
- name: client
  command: [{exec}]
- name: web
  command: ["${process.execPath}", "-e", 'require("http").createServer((_, answer) => answer.end("web")).listen(8080)']
  ports: [{ name: http, port: ${outside}, targetPort: 8080 }]
- name: calls
  command: ${application("h2c-application.mjs", "50051")}
  ports: [{ name: undeclared, port: 50051 }]
- name: greeter
  command: ${application("greeting-application.mjs", "smtp:2525:0 smtp:2526:0")}
  ports: [{ name: undeclared, port: 2525 }, { name: tcp-smtp, port: 2526 }]
`;

const rules = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: calls }
spec:
  hosts: [calls]
  http:
  - match: [{ uri: { exact: /denied } }]
    directResponse: { status: 403 }
  - route: [{ destination: { host: calls } }]
`;

/** Waits for the first words, or says them after a while in which nobody has spoken. */
const talk = (host: string, port: number, after = ""): string => `
  const socket = require("net").connect(${port}, "${host}");
  socket.on("data", (chunk) => { process.stdout.write(String(chunk)); socket.destroy(); });
  socket.on("error", (error) => console.log(error.code));
  ${after}`;

/** Longer than anybody waits for first words. */
const late = `setTimeout(() => socket.write("GET / HTTP/1.1\\r\\nhost: web\\r\\n\\r\\n"), 2500);`;

const call = (path: string): string => `
  const session = require("http2").connect("http://calls:50051");
  session.on("error", (error) => console.log(error.code));
  const stream = session.request({ ":path": "${path}", ":method": "POST" });
  stream.on("response", (head) => console.log(head[":status"], head["x-version"]));
  stream.on("error", (error) => console.log(error.code));
  stream.on("close", () => session.close());
  stream.resume().end("word");`;

const node = (program: string): string => `${process.execPath} <<'END'\n${program}\nEND`;

// How namespaces are made has nothing to do with it.
const cases = capturedCases.filter(({ mode }) => mode === capturingModes[0]);

for (const { mode, dataPlane, title } of cases) {
  test(`what nobody declared: ${title}`, async (t) => {
    await using outside = await outsideTcp();
    const { address: outsideAddress, port } = outside;
    // Envoy waits for ever unless it is told not to, as with Istio.
    const settings = dataPlane === "envoy" ? "meshConfig: { protocolDetectionTimeout: 1s }" : "";
    await using mesh = await startMesh({
      mode,
      dataPlane,
      processes: "heddle",
      files: { "heddle.yaml": meshFile(port, settings), "rules.yaml": rules },
    });
    const client = mesh.workload("client-0");
    const run = async (program: string): Promise<string> =>
      (await client.exec(node(program))).stdout.trim();
    await eventually("the servers answer", async () =>
      (await run(call("/denied"))).startsWith("403"),
    );
    await t.test("HTTP/2 is routed by request, and asked for as HTTP/2", async () => {
      assert.equal(await run(call("/echo")), "200 spiffe://cluster.local/ns/default/sa/default");
      assert.match(await run(call("/denied")), /^403/);
    });
    await t.test("a server outside speaks first where the mesh has HTTP", async () => {
      for (let i = 0; i < 2; i++)
        assert.equal(await run(talk(outsideAddress, port)), "220 outside");
    });
    await t.test("a client of HTTP may be silent", async () => {
      assert.match(await run(talk("web", port, late)), /^HTTP\/1\.1 200 /);
    });
    await t.test("a server of a workload speaks first to clients without a sidecar", async () => {
      const own = `console.log(Object.values(require("os").networkInterfaces()).flat().find((one) => one.family === "IPv4" && !one.internal).address)`;
      const address = (await mesh.workload("greeter-0").exec(node(own))).stdout.trim();
      const [enter = "", ...words] = enterNetworkOf(insidePid(mesh));
      const asked = [2525, 2526].map(async (at) => {
        const script = node(talk(address, at));
        return await promisify(execFile)(enter, [...words, "sh", "-c", script]);
      });
      for (const { stdout } of await Promise.all(asked)) assert.match(stdout, /^220 mail/);
    });
  });
}
