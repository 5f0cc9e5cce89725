/**
 * Capture, proven on whole meshes: nothing leaves a workload around its sidecar, what is encrypted
 * cannot be read on any link, a STRICT port passes no plaintext byte to the application.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { eventually, startMesh, type TestMesh } from "./support/mesh.ts";
import {
  captureLinks,
  capturedCases,
  echoCommand,
  enterNetworkOf,
  insidePid,
  receivedBy,
} from "./support/security-mesh.ts";

const run = promisify(execFile);
const ports = "[{ port: 80, targetPort: 8080, protocol: HTTP }, { port: 9000, protocol: TCP }]";
const meshFile = `
mesh: proven
console: { port: 0 }
workloads:
- name: server
  serviceAccount: server
  command: ${echoCommand("http:8080 tcp:9000 tcp:31999 tcp:15008")}
  ports: ${ports}
- name: open
  serviceAccount: open
  command: ${echoCommand("http:8080 tcp:9000")}
  ports: ${ports}
- name: client
  serviceAccount: client
  command: [{exec}]
`;
const policies = (mode: string): string => `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: ${mode} } }
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: open, namespace: default }
spec: { selector: { matchLabels: { app: open } }, mtls: { mode: DISABLE } }
`;

const server4 = "198.18.0.2";
const server6 = "fd48:6564:646c:12::2";
const client = join(import.meta.dirname, "support/marker-client.mjs");
const markers = Array.from({ length: 20 }, (_, index) => `MARKER-${index}-${"qzx".repeat(3)}`);

function get(path: string): string {
  return `GET /${path} HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n`;
}

/** A program that sends a line and prints what comes back within two seconds. */
function sender(address: string, port: number, line: string): string {
  const sent = `Buffer.from("${Buffer.from(line).toString("hex")}","hex")`;
  return (
    `const s=require("net").connect(${port},"${address}");s.write(${sent});` +
    `s.on("data",d=>{process.stdout.write(d);s.end()}).on("error",()=>{}).on("close",()=>process.exit());` +
    `setTimeout(()=>process.exit(),2000)`
  );
}

for (const { mode, dataPlane, title } of capturedCases) {
  describe(`capture, proven: ${title}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = { "heddle.yaml": meshFile, "security.yaml": policies("STRICT") };
      const provokes = ["around"] as const; // by the last test
      mesh = await startMesh({ mode, dataPlane, processes: "heddle", files, provokes });
    });
    after(async () => {
      await mesh.stop();
    });

    const inClient = async (script: string) => await mesh.workload("client-0").exec(script);
    const send = async (to: string) =>
      await inClient(`'${process.execPath}' '${client}' ${to}:80 ${to}:9000 ${markers.join(" ")}`);
    /** Sends a line of plaintext from a place without a sidecar; what came back. */
    const outsider = async (address: string, port: number, line: string): Promise<string> => {
      const script = sender(address, port, line);
      const words = [...enterNetworkOf(insidePid(mesh)), process.execPath, "-e", script];
      return (await run(words[0] ?? "", words.slice(1))).stdout;
    };

    test("no marker is on any link where mutual TLS holds, all are where it is disabled", async () => {
      const everything = { http: markers.length, webSocket: markers.length, tcp: markers.length };
      const places = ["path", "query", "header", "cookie", "body", "message", "payload"];
      const capture = await captureLinks(insidePid(mesh));
      const sent = await send("server");
      const held = await capture.stop();
      assert.deepEqual(JSON.parse(sent.stdout || "{}"), everything, sent.stderr);
      assert.deepEqual(
        markers.filter((marker) => held.includes(marker)),
        [],
      );
      const open = await captureLinks(insidePid(mesh));
      const sentOpenly = await send("open");
      const seen = await open.stop();
      assert.deepEqual(JSON.parse(sentOpenly.stdout || "{}"), everything, sentOpenly.stderr);
      const missing = markers.flatMap((marker) =>
        // A WebSocket client masks what it sends; the answer is not masked.
        places.map((place) => `${marker}-${place}`).filter((text) => !seen.includes(text)),
      );
      assert.deepEqual(missing, []);
    });

    test("a STRICT port passes no plaintext byte, declared or not, IPv4 or IPv6", async () => {
      for (const address of [server4, server6]) {
        for (const port of [8080, 9000, 31_999, 15_008, 15_020]) {
          const answer = await outsider(address, port, get(`plain-${port}`));
          assert.doesNotMatch(answer, /"from":"server-0"/, `${address}:${port}`);
        }
      }
      const plain = receivedBy(mesh, "server-0").match(/plain-\d+/g);
      assert.equal(plain, null);
    });

    test("loopback and its own address lead a workload to itself", async () => {
      const { stdout } = await mesh
        .workload("server-0")
        .exec(
          `curl -s -m 5 http://127.0.0.1:8080/own; curl -s -m 5 http://${server4}:8080/own; curl -s -m 5 'http://[${server6}]:8080/own'; curl -s -m 5 http://server/own`,
        );
      assert.equal(stdout.match(/"url":"\/own"/g)?.length, 4, stdout);
    });

    test("a name that is of no service is refused at once at a service's address, each time", async () => {
      const times = await inClient(
        "for i in $(seq 6); do curl -4 -s -o /dev/null -m 5 -w '%{http_code} ' -H 'Host: nobody.example' http://server/; done",
      );
      assert.equal(times.stdout, "503 ".repeat(6));
      const over6 = await inClient(
        "for i in $(seq 6); do curl -6 -s -o /dev/null -m 5 -w '%{http_code} %{time_total}\\n' -H 'Host: nobody.example' http://server/; done",
      );
      const waits = [...over6.stdout.matchAll(/^503 (\S+)$/gm)].map(([, seconds]) =>
        Number(seconds),
      );
      assert.equal(waits.length, 6, over6.stdout);
      // Told by ICMP, every one of them took longer than a second.
      assert.ok(Math.min(...waits) < 0.9, over6.stdout);
    });

    test("the sidecar's own ports do not lead around it or in a circle", async () => {
      const { stdout } = await inClient(
        [15_001, 15_006]
          .flatMap((port) => [`127.0.0.1:${port}`, `${server4}:${port}`])
          .map((at) => `curl -s -o /dev/null -w '%{http_code} ' -m 5 http://${at}/loop; echo $?`)
          .join(";"),
      );
      assert.doesNotMatch(stdout, /200|\b28\b/);
    });

    test("PERMISSIVE accepts plaintext and mutual TLS alike", async () => {
      mesh.write("security.yaml", policies("PERMISSIVE"));
      const line = get("permitted");
      await eventually("plaintext is accepted", async () => {
        return (await outsider(server4, 8080, line)).includes('"from":"server-0"');
      });
      assert.match(await outsider(server4, 9000, "openly"), /openly/);
      // Any port, declared or not: passed on as the client meant it.
      for (const address of [server4, server6]) {
        for (const port of [8080, 9000, 31_999, 15_008]) {
          const asked = port === 8080 ? get(`peer-${port}`) : `peer-${port} speaks no HTTP\r\n`;
          const program = sender(address, port, asked);
          const { stdout } = await inClient(`'${process.execPath}' -e '${program}'`);
          assert.match(stdout, new RegExp(`peer-${port}`), `${address}:${port}`);
        }
      }
      const { stdout } = await inClient("curl -s -m 5 http://server/by-peer");
      assert.match(stdout, /spiffe:\/\/cluster.local\/ns\/default\/sa\/client/);
      mesh.write("security.yaml", policies("STRICT"));
      await eventually("plaintext is refused again", async () => {
        return !(await outsider(server4, 8080, line)).includes('"from":"server-0"');
      });
    });

    test("nothing leaves while a sidecar is down", async () => {
      const capture = await captureLinks(insidePid(mesh));
      const busy = inClient(
        `for i in $(seq 40); do curl -s -o /dev/null -m 1 http://server/${markers[0]}; done`,
      );
      process.kill(mesh.workload("client-0").sidecarPid, "SIGKILL");
      await busy;
      assert.equal((await capture.stop()).includes(markers[0] ?? ""), false);
    });

    test("the kernel has counted no packet around a sidecar, and would have", async () => {
      for (const name of ["client-0", "server-0", "open-0"]) {
        const counters = await mesh.workload(name).counters();
        assert.deepEqual(
          { around: counters["around"], dropped: counters["dropped"] },
          { around: 0, dropped: 0 },
          name,
        );
      }
      const words = enterNetworkOf(mesh.workload("client-0").sidecarPid);
      for (const chain of ["outbound", "leaving"]) {
        const flush = [...words, "nft", "flush", "chain", "inet", "heddle", chain];
        await run(flush[0] ?? "", flush.slice(1));
      }
      await inClient(`curl -s -m 2 http://${server4}:8080/`);
      const counters = await mesh.workload("client-0").counters();
      assert.notEqual(counters["around"], 0);
    });
  });
}
