/**
 * Where the host's way out takes packets of 1400 bytes (a VPN, a cloud's overlay), the mesh's links take
 * no larger ones, and bodies of 64 KB pass them whole.
 */
import assert from "node:assert/strict";
import { test } from "node:test";

import { findEnvoy } from "../support/envoy.ts";
import { startMesh } from "./support/mesh.ts";
import { capturedCases } from "./support/security-mesh.ts";

const mtu = 1400;
const bodyBytes = 65_536;

const files = {
  "heddle.yaml": `
mesh: small
console: { port: 0 }
workloads:
- name: server
  command: [node, echo.mjs]
  ports:
  - { name: http, port: 80, targetPort: 8080, protocol: HTTP }
  - { name: tcp, port: 9000, protocol: TCP }
- name: client
  dependsOn: [server]
  command: [{exec}]
`,
  "strict.yaml": `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`,
  "echo.mjs": `
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
createHttpServer((request, response) => request.pipe(response)).listen(8080);
createServer({ allowHalfOpen: true }, (socket) => socket.on("error", () => {}).pipe(socket)).listen(9000);
`,
};

/** A network namespace whose way out is as narrow as that; there is nothing behind it. */
const narrow = [
  "ip link set lo up",
  `ip link add way mtu ${mtu} type bridge`,
  "ip address add 192.0.2.1/24 dev way",
  "ip link set way up",
  "ip route add default dev way",
  'exec "$@"',
].join(" && ");

for (const { mode, dataPlane, title } of capturedCases) {
  test(`64 KB pass links of ${mtu} bytes, ${title}`, async () => {
    const mayNetwork =
      mode === "root" ? [] : ["--user", "--map-current-user", "--keep-caps", "--mount"];
    await using mesh = await startMesh({
      mode,
      dataPlane,
      processes: "heddle",
      files,
      environment: { HEDDLE_ENVOY: findEnvoy() ?? "" },
      wrapper: ["unshare", ...mayNetwork, "--net", "--", "sh", "-c", narrow, "narrow"],
    });
    const client = mesh.workload("client-0");
    const link = await client.exec("PATH=$PATH:/usr/sbin:/sbin ip -o link show dev eth0");
    assert.match(link.stdout, new RegExp(`\\bmtu ${mtu}\\b`), link.stderr);
    const body = `seq 1 20000 | head -c ${bodyBytes}`;
    const sum = (how: string): string => `${body} | cksum; ${body} | ${how} | cksum`;
    const ways = {
      HTTP: sum("curl -sS -m 10 --data-binary @- http://server/"),
      TCP: sum(
        `'${process.execPath}' -e 'const s=require("net").connect(9000,"server");process.stdin.pipe(s).pipe(process.stdout)'`,
      ),
    };
    for (const [way, script] of Object.entries(ways)) {
      const { stdout, stderr } = await client.exec(script);
      const [sent = "", received] = stdout.trim().split("\n");
      assert.match(sent, new RegExp(` ${bodyBytes}$`), stderr);
      assert.equal(received, sent, `${way}: ${stderr}`);
    }
  });
}
