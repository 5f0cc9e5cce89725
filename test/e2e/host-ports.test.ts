/**
 * Ports of the host that lead to gateways follow the saved file: they open, serve, move and close at
 * once; one that the host refuses is a problem with its place and a remedy, gone when it is mended.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { StatusAnswer } from "../../src/console/api.ts";
import { findEnvoy } from "../support/envoy.ts";
import { freePort } from "../support/free-port.ts";
import { cliOf } from "./support/cli.ts";
import { eventually, meshModes, type MeshMode, startMesh, type TestMesh } from "./support/mesh.ts";

const routes = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge, namespace: istio-system }
spec:
  selector: { istio: edge }
  servers:
  - { port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }
  - { port: { number: 81, name: http-other, protocol: HTTP }, hosts: ["*"] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server }
spec:
  hosts: ["*"]
  gateways: [istio-system/edge]
  http: [{ route: [{ destination: { host: server } }] }]
`;

/** `ports` as they stand in YAML, on line 5 from column 11. */
function meshFile(ports: string): string {
  return `mesh: ports
console: { port: 0 }
gateways:
- name: edge
  ports: [${ports}]
  labels: { istio: edge }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
`;
}

const cases: readonly (readonly [MeshMode, "heddle" | "envoy"])[] = [
  ...meshModes.map((mode) => [mode, "heddle"] as const),
  // There the gateway itself opens the port.
  ["explicit", "envoy"],
];

for (const [mode, dataPlane] of cases) {
  describe(`host ports, ${mode}, ${dataPlane}`, () => {
    test("a saved change opens, moves and closes them", async () => {
      await using mesh = await start(mode, dataPlane, "{ port: 80, hostPort: 0 }");
      const first = Number(new URL(mesh.gatewayUrls[0] ?? "").port);
      const answer = await fetch(`http://127.0.0.1:${first}/`);
      assert.equal(answer.status, 200, "as soon as the mesh says that it is ready");
      const [moved, added] = [await freePort(), await freePort()];
      const both = `{ port: 80, hostPort: ${moved} }, { port: 81, hostPort: ${added} }`;
      mesh.write("heddle.yaml", meshFile(both));
      await serves(moved);
      await refuses(first);
      await serves(added);
      mesh.write("heddle.yaml", meshFile(`{ port: 80, hostPort: ${moved} }`));
      await refuses(added);
      await using other = await listen(added);
      assert(other.server.listening, "the port is free for others while the mesh runs");
      await serves(moved);
    });

    test("one that the host refuses is a problem until it can be opened", async () => {
      const first = await freePort();
      await using mesh = await start(mode, dataPlane, `{ port: 80, hostPort: ${first} }`);
      const heddle = cliOf(mesh);
      await serves(first);
      const taken = await freePort();
      {
        await using other = await listen(taken);
        assert(other.server.listening);
        mesh.write("heddle.yaml", meshFile(`{ port: 80, hostPort: ${taken} }`));
        const place = `${join(mesh.directory, "heddle.yaml")}:5:33: error heddle-file.host-port: `;
        const sentence = `port ${taken} for gateway edge is in use by another program, so it stays on 127.0.0.1:${first}`;
        const remedy = "; stop it or choose another port";
        await eventually("status shows it", async () => {
          const { code, stdout } = await heddle("status");
          return code === 1 && stdout.includes(place + sentence) && stdout.includes(remedy);
        });
        assert((await heddle("get")).stdout.includes(place + sentence));
        const answer = await heddle("status -o json");
        const { status }: { status: StatusAnswer } = JSON.parse(answer.stdout);
        assert.equal(status.problems.errors, 1);
        assert(mesh.output().includes(sentence), "the terminal of heddle up says it too");
        await serves(first);
      }
      await serves(taken);
      await refuses(first);
      await eventually("the problem is gone", async () => (await heddle("status")).code === 0);
    });
  });
}

test("a host port that needs rights is a problem, and the gateway's other ports serve", async () => {
  const port = await freePort();
  await using mesh = await start("rootless", "heddle", `{ port: 80, hostPort: ${port} }`);
  mesh.write("heddle.yaml", meshFile(`{ port: 80, hostPort: ${port} }, { port: 81, hostPort: 1 }`));
  await eventually("status shows it", async () => {
    const { stdout } = await cliOf(mesh)("status");
    return /heddle\.yaml:5:\d+: error heddle-file\.host-port: port 1 for gateway edge needs root .*; choose one above 1023/.test(
      stdout,
    );
  });
  await serves(port);
});

async function start(
  mode: MeshMode,
  dataPlane: "heddle" | "envoy",
  ports: string,
): Promise<TestMesh> {
  const envoy = findEnvoy();
  assert(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  return await startMesh({
    mode,
    dataPlane,
    processes: "heddle",
    files: { "heddle.yaml": meshFile(ports), "routes.yaml": routes },
    environment: { HEDDLE_ENVOY: envoy },
  });
}

async function serves(port: number): Promise<void> {
  await eventually(`port ${port} serves`, async () => {
    const answer = await fetch(`http://127.0.0.1:${port}/`).catch(() => undefined);
    await answer?.arrayBuffer();
    return answer?.status === 200;
  });
}

async function refuses(port: number): Promise<void> {
  await eventually(`port ${port} refuses`, async () => {
    const socket = connect(port, "127.0.0.1");
    const [event] = await Promise.race([
      once(socket, "connect").then(() => ["connected"]),
      once(socket, "error").then(([error]) => [String(error.code)]),
    ]).catch((error: unknown) => [String(error)]);
    socket.destroy();
    return event?.includes("ECONNREFUSED");
  });
}

async function listen(port: number): Promise<AsyncDisposable & { readonly server: Server }> {
  const server = createServer((socket) => socket.destroy());
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    server,
    async [Symbol.asyncDispose]() {
      server.close();
      await once(server, "close");
    },
  };
}
