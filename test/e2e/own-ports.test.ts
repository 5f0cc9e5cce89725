/** Every port of Heddle's own changed in heddle.yaml: the mesh works, and the old ones are free. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { defaultSidecarPorts } from "../../src/base/sidecar-options.ts";
import { defaultControlPlanePorts } from "../../src/local/file/ports.ts";
import { freePort } from "../support/free-port.ts";
import { eventually, startMesh, type TestMesh } from "./support/mesh.ts";
import { askSidecar, ingressGateway, scrape, total } from "./support/proxy-metrics.ts";
import { capturedCases, echoCommand, enterNetworkOf, insidePid } from "./support/security-mesh.ts";

const run = promisify(execFile);

const sidecar = {
  admin: 25_000,
  outbound: 25_001,
  inbound: 25_006,
  mergedMetrics: 25_020,
  ready: 25_021,
  dns: 25_053,
  metrics: 25_090,
};
const controlPlane = { secureXds: 25_012, plainXds: 25_010, metrics: 25_014 };
const oldPorts = [
  ...Object.values(defaultSidecarPorts),
  ...Object.values(defaultControlPlanePorts),
];

const meshFile = `
mesh: ported
console: { port: 0 }
ports: ${JSON.stringify({ controlPlane, sidecar })}
gateways:
- name: istio-ingressgateway
  labels: { istio: ingressgateway }
  ports: [{ port: 80, hostPort: 0 }]
workloads:
- name: server
  command: ${echoCommand("http:8080")}
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`;
const rules = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: web }
spec: { selector: { istio: ingressgateway }, servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web }
spec: { hosts: ["*"], gateways: [web], http: [{ route: [{ destination: { host: server } }] }] }
`;

/** Ports that somebody listens on, TCP (state 0A) and UDP, in the network namespace of `pid`. */
async function listening(pid: number): Promise<ReadonlySet<number>> {
  const tables = ["tcp", "tcp6", "udp", "udp6"].map((name) => `/proc/self/net/${name}`);
  const words = [...enterNetworkOf(pid), "cat", ...tables];
  const { stdout } = await run(words[0] ?? "", words.slice(1));
  const lines = stdout.split("\n").map((line) => line.trim().split(/\s+/));
  const bound = lines.filter(([, , , state]) => state === "0A" || state === "07");
  return new Set(bound.map(([, local = ""]) => Number.parseInt(local.split(":")[1] ?? "", 16)));
}

for (const { mode, dataPlane, title } of capturedCases) {
  describe(`ports of a mesh's own, ${title}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = { "heddle.yaml": meshFile, "rules.yaml": rules };
      mesh = await startMesh({ mode, dataPlane, processes: "heddle", files });
    });
    after(async () => {
      await mesh.stop();
    });

    const server = { name: "server-0" };

    test("carry requests over mutual TLS, by name and through a gateway", async () => {
      const { stdout } = await mesh.workload("client-0").exec("curl -sS -m 5 http://server/inside");
      assert.match(stdout, /inside/);
      const answer = await fetch(new URL("/outside", mesh.gatewayUrls[0]));
      assert.match(await answer.text(), /outside/);
      const wanted = { reporter: "destination", connection_security_policy: "mutual_tls" };
      await eventually("both are counted", async () => {
        return total(await scrape(mesh, server), "istio_requests_total", wanted) === 2;
      });
    });

    test("answer for readiness and metrics", async () => {
      for (const instance of [server, ingressGateway]) {
        await askSidecar(mesh, instance, { port: "ready", path: "/healthz/ready" });
        const merged = { port: "mergedMetrics", path: "/stats/prometheus" } as const;
        assert.match(await askSidecar(mesh, instance, merged), /istio_requests_total/);
      }
      const url = `http://127.0.0.1:${controlPlane.metrics}/metrics`;
      const words = [...enterNetworkOf(insidePid(mesh)), "curl", "-sS", "-m", "5", url];
      const { stdout } = await run(words[0] ?? "", words.slice(1));
      assert.match(stdout, /^# TYPE /m);
      assert.equal(statSync(join(mesh.stateDir, "xds.sock")).mode & 0o777, 0o600);
    });

    test("are listened on, and Istio's are not", async () => {
      const inside = [
        { pid: mesh.workload("server-0").sidecarPid, own: Object.values(sidecar) },
        { pid: mesh.workload("client-0").sidecarPid, own: Object.values(sidecar) },
        {
          pid: mesh.workload(ingressGateway.name, ingressGateway.namespace).sidecarPid,
          own: [sidecar.admin, sidecar.mergedMetrics, sidecar.ready, sidecar.metrics],
        },
        { pid: insidePid(mesh), own: [...Object.values(controlPlane), sidecar.dns] },
      ];
      for (const { pid, own } of inside) {
        const open = await listening(pid);
        assert.deepEqual(
          own.filter((port) => !open.has(port)),
          [],
        );
        assert.deepEqual(
          oldPorts.filter((port) => open.has(port)),
          [],
        );
      }
    });

    test("are kept by a mesh that runs, whatever is saved", async () => {
      mesh.write("heddle.yaml", meshFile.replace("25021", "26021"));
      const line = /ports\.sidecar\.ready is 26021 here and 25021 in the mesh that runs/;
      await eventually("the problem is told", () => line.test(mesh.output()));
      await askSidecar(mesh, server, { port: "ready", path: "/healthz/ready" });
    });
  });
}

describe("ports of a mesh's own, explicit", () => {
  const explicitFile = (metrics: number): string => `
mesh: ported
console: { port: 0 }
ports: { controlPlane: { metrics: ${metrics} }, sidecar: { ready: 19021 } }
workloads:
- name: client
  command: [{exec}]
`;
  const start = async (metrics: number): Promise<TestMesh> => {
    const files = { "heddle.yaml": explicitFile(metrics) };
    return await startMesh({ mode: "explicit", processes: "heddle", files });
  };

  test("are the control plane's as given, and each sidecar's as found free", async () => {
    const metrics = await freePort();
    await using mesh = await start(metrics);
    const answer = await fetch(`http://127.0.0.1:${metrics}/metrics`);
    assert.match(await answer.text(), /^# TYPE /m);
    assert.match(mesh.output(), /explicit mode gives every sidecar ports of its own/);
    await askSidecar(mesh, { name: "client-0" }, { port: "ready", path: "/healthz/ready" });
    // Of no range that free ports are taken from.
    await assert.rejects(fetch("http://127.0.0.1:19021/healthz/ready"));
  });

  test("are said to be in use before anything is started", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const bound = server.address();
    assert(bound !== null && typeof bound === "object");
    const why = /port \d+ for the control plane \(ports\.controlPlane\.metrics\) is in use/;
    await assert.rejects(start(bound.port), why);
    server.close();
  });
});
