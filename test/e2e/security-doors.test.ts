/**
 * The doors to the outside, tried by strangers: the console's port (rebinding, foreign pages, traversal,
 * too much of anything) and the gateway's, with requests that two readers could understand
 * differently. Nothing of those may reach an application.
 */
import assert from "node:assert/strict";
import { request } from "node:http";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";

import { probes } from "../conformance/http1/probes.ts";
import { startMesh, type TestMesh } from "./support/mesh.ts";
import { echoCommand, receivedBy, securityCases } from "./support/security-mesh.ts";

const meshFile = `
mesh: doors
console: { port: 0 }
gateways:
- { name: istio-ingressgateway, labels: { istio: ingressgateway }, ports: [{ port: 80, hostPort: 0, protocol: HTTP }] }
workloads:
- name: server
  serviceAccount: server
  command: ${echoCommand("http:8080")}
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
`;
const routes = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: door, namespace: default }
spec:
  selector: { istio: ingressgateway }
  servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: door, namespace: default }
spec:
  hosts: ["*"]
  gateways: [door]
  http: [{ route: [{ destination: { host: server } }] }]
`;

for (const { mode, dataPlane, title } of securityCases) {
  describe(`doors: ${title}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = { "heddle.yaml": meshFile, "routes.yaml": routes };
      mesh = await startMesh({ mode, dataPlane, processes: "heddle", files });
    });
    after(async () => {
      await mesh.stop();
    });

    interface Call {
      readonly method?: string;
      readonly path: string;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
    const call = async ({ method = "GET", path, headers: more = {}, body }: Call) => {
      const { hostname, port, hash } = new URL(mesh.consoleUrl);
      const headers = { authorization: `Bearer ${hash.replace("#token=", "")}`, ...more };
      return await new Promise<{ status: number; text: string }>((resolve, reject) => {
        const outgoing = request({ hostname, port, method, path, headers }, (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
          response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        });
        outgoing.on("error", reject);
        outgoing.end(body);
      });
    };
    const policy = JSON.stringify({
      yaml: "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: x, namespace: default }\nspec: {}\n",
    });
    const json = { "content-type": "application/json" };

    test("the console answers to its own names alone, whatever they resolve to", async () => {
      const { port } = new URL(mesh.consoleUrl);
      for (const host of [
        "evil.example",
        `evil.example:${port}`,
        "localhost.evil.example",
        "127.0.0.1.nip.io",
      ]) {
        const { status } = await call({ path: "/api/status", headers: { host } });
        assert(status === 403 || status === 400, `${host}: ${status}`);
      }
      const { status } = await call({
        path: "/api/status",
        headers: { host: `localhost:${port}` },
      });
      assert.equal(status, 200);
    });

    test("whoever has no token reads nothing of the mesh over the console's port", async () => {
      const paths = [
        "/api/status",
        "/api/config",
        "/api/events",
        "/api/logs/server-0.default",
        "/api/proxies/server-0.default/config_dump",
        "/api/v1/query?query=up",
        "/%61pi/status",
      ];
      for (const authorization of ["", "Bearer guess", "Basic Z3Vlc3M6Z3Vlc3M="]) {
        for (const path of paths) {
          const { status } = await call({ path, headers: { authorization } });
          assert.equal(status, 401, `${path} ${authorization}`);
        }
      }
      assert.equal((await call({ path: "/api/config" })).status, 200);
    });

    test("a foreign page can change nothing, nor can whoever has no token", async () => {
      const { port } = new URL(mesh.consoleUrl);
      const own = { ...json, host: `127.0.0.1:${port}` };
      const foreign: readonly Call["headers"][] = [
        { ...own, authorization: "" },
        { ...own, authorization: "Bearer guess" },
        { ...own, origin: "http://evil.example" },
        { ...own, origin: "null" },
        { ...own, "sec-fetch-site": "cross-site" },
        { ...own, "content-type": "text/plain", origin: "http://evil.example" },
      ];
      for (const headers of foreign) {
        for (const path of [
          "/api/config/apply",
          "/api/config/delete",
          "/api/config/wait",
          "/api/proxies/server-0.default/logging",
        ]) {
          const { status } = await call({
            method: "POST",
            path,
            headers: headers ?? {},
            body: policy,
          });
          assert([401, 403, 415].includes(status), `${path} ${JSON.stringify(headers)}: ${status}`);
        }
      }
      const { text } = await call({ path: "/api/config" });
      assert.doesNotMatch(text, /AuthorizationPolicy/);
    });

    test("no path of the console leads to another file or to a sidecar's other doors", async () => {
      const paths = [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/assets/..%5c..%5c..%5cetc%5cpasswd",
        "/assets/%00",
        "/api/logs/..%2f..%2fca%2froot-key.pem",
        "/api/logs/server-0.default?stream=../../ca/root-key.pem",
        "/api/proxies/server-0.default/quitquitquit",
        "/api/proxies/server-0.default/..%2fquitquitquit",
        "/api/proxies/server-0.default/config_dump%3fx",
        "/api/proxies/..%2f..%2fapi.sock/certs",
        "/api/proxies/server-0.default/stats?filter=%0d%0aX:1",
      ];
      for (const path of paths) {
        const { status, text } = await call({ path });
        assert.doesNotMatch(text, /root:x:|PRIVATE KEY/, path);
        assert(status >= 400 || text.startsWith("<!"), `${path}: ${status} ${text.slice(0, 80)}`);
      }
    });

    test("too much of anything is refused, and the console goes on", async () => {
      const { port } = new URL(mesh.consoleUrl);
      const headers = { ...json, host: `127.0.0.1:${port}` };
      const big = await call({
        method: "POST",
        path: "/api/config/validate",
        headers,
        body: `{"yaml":"${"a".repeat(9 << 20)}"}`,
      }).catch(() => ({ status: 413 }));
      assert.equal(big.status, 413);
      const bomb = `a: &a [x,x,x,x,x,x,x,x,x]\n${Array.from(
        { length: 12 },
        (_, i) =>
          `b${i}: &b${i} [${Array(9)
            .fill(i === 0 ? "*a" : `*b${i - 1}`)
            .join(",")}]`,
      ).join("\n")}`;
      const answer = await call({
        method: "POST",
        path: "/api/config/validate",
        headers,
        body: JSON.stringify({ yaml: bomb }),
      });
      assert(answer.text.length < 1_000_000);
      const deep = await call({
        method: "POST",
        path: "/api/config/validate",
        headers,
        body: JSON.stringify({ yaml: "[".repeat(100_000) }),
      });
      assert(deep.status < 500, String(deep.status));
      const query = await call({ path: `/api/v1/query?query=${"(".repeat(10_000)}` });
      assert(query.status >= 400 && query.status < 500, String(query.status));
      assert((await call({ path: `/${"x".repeat(60_000)}` })).status >= 400);
      assert.equal((await call({ path: "/api/status" })).status, 200);
    });

    test("what two readers could understand differently ends at the gateway", async () => {
      const { port, hostname } = new URL(mesh.gatewayUrls[0] ?? "");
      const smuggling = probes.filter(
        ({ id, expect }) =>
          /SMUG|CL-|CHUNK|DUPLICATE|LF|FOLD|CR|HOST|NUL|TE/.test(id) &&
          // What follows an upgrade that the gateway allows is the tunnel's.
          !id.startsWith("UPGRADE") &&
          // Envoy unfolds the coding: what follows the body is a request of the client's own.
          (dataPlane !== "envoy" || !id.endsWith("TE-OBS-FOLD")) &&
          !expect.includes(200),
      );
      assert(smuggling.length > 60, String(smuggling.length));
      const earlier = receivedBy(mesh, "server-0").length;
      const served: string[] = [];
      for (const { id, bytes } of smuggling) {
        const answer = await exchange({ host: hostname, port: Number(port) }, bytes);
        if (/"url":"\/smuggled/.test(answer)) served.push(`${id} ${answer.slice(0, 40)}`);
      }
      assert.deepEqual(served, []);
      assert.doesNotMatch(receivedBy(mesh, "server-0").slice(earlier), /smuggled/);
    });
  });
}

/** Sends bytes and ends: all that comes back within two seconds. */
async function exchange(to: { host: string; port: number }, bytes: string): Promise<string> {
  return await new Promise((resolve) => {
    let text = "";
    const socket = connect({ ...to, allowHalfOpen: true });
    socket.setTimeout(1000, () => socket.destroy());
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      socket.setTimeout(200);
    });
    socket.on("error", () => {}).on("close", () => resolve(text));
    socket.on("end", () => socket.end());
    socket.write(bytes, "latin1");
  });
}
