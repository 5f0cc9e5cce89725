/** UDP to services, balanced and counted by the caller's sidecar; what is not declared; what STRICT closes. */
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
import { scrape, total } from "./support/proxy-metrics.ts";

const application = (spec: string): string =>
  `["${process.execPath}", "${join(import.meta.dirname, "support/datagram-application.mjs")}", "${spec}", {exec}]`;

const meshFile = `
mesh: datagrams
console: { port: 0 }
workloads:
- name: client
  command: [{exec}]
- name: echo
  replicas: 2
  command: ${application("echo:9000 dns:5353 echo:9999")}
  ports:
  - { name: udp-echo, port: 9000 }
  - { name: udp-dns, port: 5300, targetPort: 5353 }
- name: closed
  command: ${application("echo:9000 echo:9001")}
  ports:
  - { name: udp-echo, port: 9000 }
  - { name: udp-open, port: 9001 }
`;

const closed = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: closed }
spec:
  selector: { matchLabels: { app: closed } }
  mtls: { mode: STRICT }
  portLevelMtls: { 9001: { mode: DISABLE } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: entry }
spec:
  hosts: [entry.example]
  ports: [{ number: 700, name: udp, protocol: UDP, targetPort: 9000 }]
  resolution: STATIC
  workloadSelector: { labels: { app: echo } }
`;

interface Sent {
  readonly host: string;
  readonly port: number;
  readonly family?: 4 | 6;
  readonly texts: readonly string[];
  readonly waitMs?: number;
}

/** From one socket: what came back, in order, and errors that the kernel told. */
async function send(mesh: TestMesh, { host, port, family = 4, texts, waitMs = 3000 }: Sent) {
  const program = `
    const { createSocket } = require("node:dgram");
    const { lookup } = require("node:dns");
    const texts = ${JSON.stringify(texts)};
    lookup("${host}", ${family}, (error, address) => {
      if (error) return console.log(JSON.stringify([error.code]));
      const socket = createSocket("udp${family}");
      const got = [];
      const end = () => { console.log(JSON.stringify(got)); process.exit(); };
      setTimeout(end, ${waitMs});
      socket.on("error", (error) => { got.push(error.code); end(); });
      socket.on("message", (bytes) => { if (got.push(String(bytes)) === texts.length) end(); });
      socket.connect(${port}, address, () => texts.forEach((text) => socket.send(text)));
    });`;
  const script = `${process.execPath} <<'END'\n${program}\nEND`;
  const { stdout, stderr } = await mesh.workload("client-0").exec(script);
  try {
    return JSON.parse(stdout) as readonly string[];
  } catch {
    throw new Error(stdout + stderr);
  }
}

/** How many addresses a resolver somewhere gives for a service. */
async function askName(mesh: TestMesh, resolver: string, over: "udp" | "tcp"): Promise<string> {
  const program = `
    const labels = "echo.default.svc.cluster.local".split(".");
    const name = Buffer.concat([
      ...labels.map((one) => Buffer.from([one.length, ...Buffer.from(one)])),
      Buffer.from([0, 0, 1, 0, 1]),
    ]);
    const query = Buffer.concat([Buffer.from([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]), name]);
    const tell = (answer) => { console.log(answer.readUInt16BE(6) + " answers"); process.exit(); };
    setTimeout(() => process.exit(), 5000);
    if ("${over}" === "udp") {
      const family = "${resolver}".includes(":") ? "udp6" : "udp4";
      const socket = require("node:dgram").createSocket(family);
      socket.on("message", tell).connect(53, "${resolver}", () => socket.send(query));
    } else {
      const socket = require("node:net").connect(53, "${resolver}");
      socket.on("data", (bytes) => tell(bytes.subarray(2)));
      socket.write(Buffer.concat([Buffer.from([0, query.length]), query]));
    }`;
  const script = `${process.execPath} <<'END'\n${program}\nEND`;
  return (await mesh.workload("client-0").exec(script)).stdout.trim();
}

async function untilServed(mesh: TestMesh): Promise<void> {
  await eventually("UDP is served", async () => {
    const [answer] = await send(mesh, { host: "echo", port: 9000, texts: ["a"], waitMs: 500 });
    return answer?.endsWith(" a");
  });
}

for (const mode of capturingModes) {
  test(`UDP: ${mode}`, async (t) => {
    await using mesh = await startMesh({
      mode,
      processes: "heddle",
      files: { "heddle.yaml": meshFile, "closed.yaml": closed },
      provokes: ["undeclared", "dropped"],
    });
    await untilServed(mesh);

    await t.test("a client's datagrams go to one instance, clients to all, in order", async () => {
      const names = new Set<string>();
      for (let i = 0; i < 8; i++) {
        const texts = ["1", "2", "3"];
        const answers = await send(mesh, { host: "echo", port: 9000, texts });
        const [name = ""] = answers[0]?.split(" ") ?? [];
        assert.deepEqual(
          answers,
          texts.map((text) => `${name} ${text}`),
        );
        names.add(name);
      }
      assert.deepEqual([...names].toSorted(), ["echo-0", "echo-1"]);
    });

    await t.test("IPv6, and a ServiceEntry's host", async () => {
      const { stdout } = await mesh.workload("client-0").exec("cat /proc/net/if_inet6");
      if (stdout.includes("fd48")) {
        const answers = await send(mesh, { host: "echo", port: 9000, family: 6, texts: ["six"] });
        assert.match(String(answers), /^echo-[01] six$/);
      }
      const answers = await send(mesh, { host: "entry.example", port: 700, texts: ["hi"] });
      assert.match(String(answers), /^echo-[01] hi$/);
    });

    await t.test("a resolver that is a service", async () => {
      const program = `
        const { Resolver, lookup } = require("node:dns");
        lookup("echo", 4, (error, address) => {
          const resolver = new Resolver();
          resolver.setServers([address + ":5300"]);
          resolver.resolve4("any.example", (error, found) => console.log(String(error ?? found)));
        });`;
      const script = `${process.execPath} <<'END'\n${program}\nEND`;
      const { stdout } = await mesh.workload("client-0").exec(script);
      assert.equal(stdout.trim(), "192.0.2.53");
    });

    await t.test("names are answered over UDP and TCP, whichever resolver is asked", async () => {
      const { stdout: links } = await mesh.workload("client-0").exec("cat /proc/net/if_inet6");
      const resolvers = ["203.0.113.53", ...(links.includes("fd48") ? ["2001:db8::53"] : [])];
      for (const resolver of resolvers) {
        for (const over of ["udp", "tcp"] as const) {
          assert.equal(await askName(mesh, resolver, over), "1 answers", `${resolver}, ${over}`);
        }
      }
    });

    await t.test("a port of a service that nobody declared is refused at once", async () => {
      const answers = await send(mesh, { host: "echo", port: 9001, texts: ["a"] });
      assert.deepEqual(answers, ["ECONNREFUSED"]);
    });

    await t.test(
      "what asks for mutual TLS gets no plaintext, but on ports that are excepted",
      async () => {
        const refused = await send(mesh, { host: "closed", port: 9000, texts: ["a"], waitMs: 500 });
        assert.deepEqual(refused, []);
        const served = await send(mesh, { host: "closed", port: 9001, texts: ["b"] });
        assert.deepEqual(served, ["closed-0 b"]);
      },
    );

    await t.test("datagrams and bytes are counted with both workloads' labels", async () => {
      const labels = {
        reporter: "source",
        source_workload: "client",
        destination_workload: "echo",
        destination_service: "entry.example",
        request_protocol: "udp",
      };
      const texts = Array.from({ length: 10 }, () => "x".repeat(1200));
      const answers = await send(mesh, { host: "entry.example", port: 700, texts });
      assert.equal(answers.length, 10);
      // Beside the one that was sent there before, and its answer.
      const wanted = {
        received_datagrams: 11,
        sent_datagrams: 11,
        received_bytes: 10 * 1200 + "hi".length,
        sent_bytes: 10 * ("echo-0 ".length + 1200) + "echo-0 hi".length,
      };
      let counted: Record<string, number> = {};
      const isCounted = async (): Promise<boolean> => {
        const samples = await scrape(mesh, { name: "client-0" });
        counted = Object.fromEntries(
          Object.keys(wanted).map((name) => [
            name,
            total(samples, `heddle_udp_${name}_total`, labels),
          ]),
        );
        return counted["sent_bytes"] === wanted.sent_bytes;
      };
      await eventually("they are counted", isCounted, 20_000);
      assert.deepEqual(counted, wanted);
    });

    await t.test("the graph has an edge for it", async () => {
      await eventually(
        "the edge",
        async () => {
          const graph = JSON.stringify(
            await (await askConsole(mesh, "/api/graph?window=1m")).json(),
          );
          return graph.includes('"udp"');
        },
        20_000,
      );
    });
  });
}
