/**
 * Explicit mode and the world outside the mesh: by the name in the request, or not at all, as
 * `outboundTrafficPolicy` says.
 */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { test } from "node:test";

import { findEnvoy } from "../support/envoy.ts";
import { dataPlanes } from "./support/faults.ts";
import { startMesh } from "./support/mesh.ts";

const meshFile = (policy: string): string => `
mesh: outside
console: { port: 0 }
meshConfig: { outboundTrafficPolicy: { mode: ${policy} } }
workloads:
- name: client
  command: [{exec}]
`;

async function outsideServer(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    response.end(`${request.method} ${request.url} ${request.headers.host}`);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert(address !== null && typeof address === "object");
  return { server, port: address.port };
}

for (const dataPlane of dataPlanes) {
  for (const policy of ["ALLOW_ANY", "REGISTRY_ONLY"]) {
    test(`unknown hosts in explicit mode, ${policy}, ${dataPlane}`, async (t) => {
      const { server, port } = await outsideServer();
      t.after(() => server.close());
      await using mesh = await startMesh({
        mode: "explicit",
        processes: "heddle",
        dataPlane,
        files: { "heddle.yaml": meshFile(policy) },
        environment: { HEDDLE_ENVOY: findEnvoy() ?? "" },
      });
      const ask = async (options: string): Promise<string> => {
        const curl = `curl -s -m 10 --noproxy '' -x "$http_proxy" -w ' %{http_code}'`;
        return (await mesh.workload("client-0").exec(`${curl} ${options}`)).stdout;
      };
      const isOpen = policy === "ALLOW_ANY";

      await t.test("a request by name", async () => {
        const answer = await ask(`http://localhost:${port}/a?b=1`);
        if (isOpen) assert.equal(answer, `GET /a?b=1 localhost:${port} 200`);
        else assert.match(answer, / 502$/);
      });

      await t.test("a tunnel by CONNECT", async () => {
        const answer = await ask(`-p http://localhost:${port}/through`);
        if (isOpen) assert.equal(answer, `GET /through localhost:${port} 200`);
        else assert.match(answer, / 000$/);
      });

      await t.test("a name that nobody has", async () => {
        assert.match(await ask("http://nobody.invalid/"), isOpen ? / 503$/ : / 502$/);
      });

      await t.test("the proxy itself is refused, not asked for ever", async () => {
        assert.match(await ask(`"$http_proxy/"`), / 502$/);
      });
    });
  }
}
