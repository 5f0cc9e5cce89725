/**
 * VirtualServices' routes for connections, on both data planes: a client's ClientHello is routed by the name it
 * asks for, and the certificate that it sees is the server's own; bytes are divided by weight and by address;
 * gateways pass both on. DestinationRules bound such connections.
 */
import assert from "node:assert/strict";
import { connect } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { connect as connectTls } from "node:tls";

import { makeTestAuthority } from "../support/test-certificates.ts";
import { eventually, startMesh, type TestMesh } from "./support/mesh.ts";
import { connectPeer, http2Peer } from "./support/outside-peers.ts";
import { outsideTcp } from "./support/outside.ts";
import { capturedCases } from "./support/security-mesh.ts";

const command = (name: string): string =>
  `["${process.execPath}", "${join(import.meta.dirname, "support/named-application.mjs")}", "${name}", "tls:8443", "tcp:9000"]`;

const server = (name: string): string => `
- name: ${name}
  command: ${command(name)}
  ports: [{ name: https, port: 443, targetPort: 8443 }, { name: tcp-words, port: 9000 }]`;

const meshFile = `
mesh: connections
console: { port: 0 }
gateways:
- name: istio-ingressgateway
  labels: { istio: ingressgateway }
  ports: [{ port: 443, hostPort: 0, protocol: TLS }, { port: 9000, hostPort: 0, protocol: TCP }]
workloads:
- name: client
  command: [{exec}]
${server("alpha")}${server("beta")}
- name: silent
  command: ["${process.execPath}", "-e", 'require("net").createServer((s) => s.on("error", () => {})).listen(9100)']
  ports: [{ name: tcp-silent, port: 9100 }]
`;

interface Outside {
  readonly address: string;
  readonly greeter: number;
  readonly http2: number;
  readonly proxy: number;
}

const entry = (
  name: string,
  protocol: string,
  port: number,
  at: Outside,
  policy: string,
): string => `
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ${name} }
spec:
  hosts: [${name}.example]
  resolution: STATIC
  ports: [{ number: 8000, name: ${protocol.toLowerCase()}, protocol: ${protocol} }]
  endpoints: [{ address: ${at.address}, ports: { ${protocol.toLowerCase()}: ${port} } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: ${name} }
spec: { host: ${name}.example, trafficPolicy: ${policy} }`;

/** Servers outside, each asked as a DestinationRule says. */
function outsideRules(at: Outside): string {
  const http = (words: string): string => `{ connectionPool: { http: { ${words} } } }`;
  const one = "h2UpgradePolicy: UPGRADE, maxConcurrentStreams: 1";
  const pings = "http2KeepAlive: { interval: 500ms, timeout: 5s }";
  return [
    entry("upgraded", "HTTP", at.http2, at, http(`${one}, ${pings}`)),
    entry("as-client", "HTTP", at.http2, at, http("useClientProtocol: true")),
    entry(
      "tunnelled",
      "TCP",
      at.proxy,
      at,
      `{ tunnel: { targetHost: target.example, targetPort: ${at.greeter} } }`,
    ),
  ].join("");
}

const rules = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: by-name }
spec:
  hosts: [alpha, "*.shop.example"]
  tls:
  - match: [{ sniHosts: [a.shop.example] }]
    route: [{ destination: { host: alpha } }]
  - match: [{ sniHosts: [b.shop.example], sourceLabels: { app: client } }]
    route: [{ destination: { host: beta } }]
  - match: [{ sniHosts: [split.shop.example] }]
    route: [{ destination: { host: alpha }, weight: 50 }, { destination: { host: beta }, weight: 50 }]
  - match: [{ sniHosts: ["*.shop.example"], destinationSubnets: [10.255.0.0/16] }]
    route: [{ destination: { host: beta } }]
  tcp:
  - match: [{ port: 9000 }]
    route: [{ destination: { host: alpha }, weight: 50 }, { destination: { host: beta }, weight: 50 }]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: ranges }
spec:
  hosts: [ranges.example]
  addresses: [10.255.0.0/16]
  ports: [{ number: 7000, name: tcp, protocol: TCP }, { number: 7443, name: tls, protocol: TLS }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: by-address }
spec:
  hosts: [ranges.example]
  tcp:
  - match: [{ destinationSubnets: [10.255.1.0/24] }]
    route: [{ destination: { host: alpha, port: { number: 9000 } } }]
  - match: [{ destinationSubnets: [10.255.0.0/16] }]
    route: [{ destination: { host: beta, port: { number: 9000 } } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: silent }
spec: { host: silent, trafficPolicy: { connectionPool: { tcp: { idleTimeout: 500ms } } } }
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: front, namespace: istio-system }
spec:
  selector: { istio: ingressgateway }
  servers:
  - { port: { number: 443, name: tls, protocol: TLS }, hosts: ["*.shop.example"], tls: { mode: PASSTHROUGH } }
  - { port: { number: 9000, name: tcp, protocol: TCP }, hosts: ["*"] }
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: from-outside }
spec:
  hosts: ["*.shop.example"]
  gateways: [istio-system/front]
  tls:
  - match: [{ sniHosts: [a.shop.example] }]
    route: [{ destination: { host: alpha, port: { number: 443 } } }]
  - match: [{ sniHosts: ["*.shop.example"] }]
    route: [{ destination: { host: beta, port: { number: 443 } } }]
  tcp:
  - route: [{ destination: { host: beta, port: { number: 9000 } } }]
`;

/** What a server says, and whose certificate it shows; `CODE` where nobody answers. */
function ask(host: string, port: number, name: string): string {
  const program = `
    const tls = require("tls").connect({ host: "${host}", port: ${port}, servername: "${name}", ca: require("fs").readFileSync("root.crt") });
    let text = "";
    tls.on("data", (chunk) => (text += chunk)).on("error", (error) => console.log(error.code ?? error.message));
    tls.on("end", () => console.log(text + " " + tls.getPeerCertificate().subject.CN));`;
  return `${process.execPath} -e '${program}'`;
}

/** What comes before the other side ends, or until `last` has come. */
function read(host: string, port: number, last = "nothing"): string {
  const program = `
    const socket = require("net").connect(${port}, "${host}").on("error", (error) => console.log(error.code));
    socket.on("data", (chunk) => { process.stdout.write(String(chunk)); if (String(chunk).includes("${last}")) socket.destroy(); });`;
  return `${process.execPath} -e '${program}'`;
}

/** As many requests at once; their answers. */
function get(url: string, count: number): string {
  const program = `Promise.all(Array.from({ length: ${count} }, async () => (await fetch("${url}")).text())).then((all) => console.log(all.join(" ")))`;
  return `${process.execPath} -e '${program}'`;
}

function http2Get(url: string): string {
  const program = `
    const session = require("http2").connect("${url}").on("error", (error) => console.log(error.code));
    const stream = session.request({ ":path": "/" });
    let text = "";
    stream.on("response", (head) => (text = head[":status"] + " ")).on("data", (chunk) => (text += chunk));
    stream.on("error", (error) => console.log(error.code)).on("close", () => { console.log(text); session.close(); });`;
  return `${process.execPath} -e '${program}'`;
}

async function files(): Promise<Readonly<Record<string, string>>> {
  const authority = await makeTestAuthority();
  const names = ["a", "b", "split", "other"].map((name) => `${name}.shop.example`);
  const pairs = await Promise.all(
    ["alpha", "beta"].map(async (name) => {
      const made = await authority.issue({ commonName: name, dnsNames: names });
      return [
        [`${name}.crt`, made.chainPem],
        [`${name}.key`, made.privateKeyPem],
      ];
    }),
  );
  const written: Record<string, string> = Object.fromEntries(pairs.flat());
  return { ...written, "root.crt": authority.rootPem };
}

for (const { mode, dataPlane, title } of capturedCases) {
  test(`routes of connections: ${title}`, async (t) => {
    const certificates = await files();
    await using greeter = await outsideTcp();
    await using http2 = await http2Peer();
    await using proxy = await connectPeer(greeter.address);
    const { address } = greeter;
    const outside = { address, greeter: greeter.port, http2: http2.port, proxy: proxy.port };
    await using mesh = await startMesh({
      mode,
      dataPlane,
      processes: "heddle",
      files: {
        "heddle.yaml": meshFile,
        "rules.yaml": rules + outsideRules(outside),
        ...certificates,
      },
    });
    const client = mesh.workload("client-0");
    const run = async (script: string): Promise<string> =>
      (await client.exec(script)).stdout.trim();
    const asked = async (name: string): Promise<string> => await run(ask("alpha", 443, name));
    await eventually(
      "the servers answer",
      async () =>
        (await asked("a.shop.example")).startsWith("alpha") &&
        (await asked("b.shop.example")).startsWith("beta"),
    );
    await t.test("by the name that is asked for", async () => {
      assert.equal(await asked("a.shop.example"), "alpha a.shop.example alpha");
      assert.equal(await asked("b.shop.example"), "beta b.shop.example beta");
      const split = await many(async () => (await asked("split.shop.example")).split(" ")[0]);
      assert.deepEqual(split, ["alpha", "beta"]);
      // No route takes it: the address is nobody's.
      assert.match(await asked("other.shop.example"), /^E/);
    });
    await t.test("by weight", async () => {
      assert.deepEqual(await many(() => run(read("alpha", 9000))), ["alpha", "beta"]);
      assert.equal(await run(read("beta", 9000)), "beta");
    });
    await t.test("by address", async () => {
      assert.equal(await run(read("10.255.1.7", 7000)), "alpha");
      assert.equal(await run(read("10.255.2.7", 7000)), "beta");
    });
    await t.test("a connection that carries nothing ends", async () => {
      assert.equal(await run(read("silent", 9100)), "");
    });
    await t.test("requests of HTTP/1.1 go on as HTTP/2, one to a connection", async () => {
      assert.equal(await run(get("http://upgraded.example:8000/", 1)), "HTTP/2");
      assert.equal(await run(get("http://upgraded.example:8000/together", 4)), "4 4 4 4");
      await eventually("connections are pinged", () => (http2.pings() > 0 ? true : undefined));
    });
    await t.test("a request goes on in the protocol it came by", async () => {
      assert.equal(await run(http2Get("http://as-client.example:8000")), "200 HTTP/2");
    });
    await t.test("through a tunnel", async () => {
      const words = await run(read("tunnelled.example", 8000, "220 outside"));
      assert.match(words, /^220 outside/);
      assert.deepEqual(proxy.targets, [`target.example:${greeter.port}`]);
    });
    await t.test("through a gateway", async () => throughGateway(mesh, certificates));
  });
}

/** Different answers of as many calls as leave one out in 1 of 10^7 runs. */
async function many(call: () => Promise<string | undefined>): Promise<string[]> {
  const found = new Set<string>();
  for (let i = 0; i < 24 && found.size < 2; i++) found.add((await call()) ?? "");
  return [...found].toSorted();
}

async function throughGateway(
  mesh: TestMesh,
  certificates: Readonly<Record<string, string>>,
): Promise<void> {
  const [tls = "", tcp = ""] = mesh.gatewayUrls;
  assert.deepEqual([new URL(tls).protocol, new URL(tcp).protocol], ["https:", "tcp:"]);
  const asked = async (servername: string): Promise<string> => {
    const socket = connectTls({
      host: "127.0.0.1",
      port: Number(new URL(tls).port),
      servername,
      ca: certificates["root.crt"],
    });
    let shown = "";
    socket.on("secureConnect", () => (shown = String(socket.getPeerCertificate().subject.CN)));
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    return `${text} ${shown}`;
  };
  await eventually(
    "the gateway listens",
    async () => (await asked("a.shop.example").catch(() => "")) !== "",
  );
  assert.equal(await asked("a.shop.example"), "alpha a.shop.example alpha");
  assert.equal(await asked("other.shop.example"), "beta other.shop.example beta");
  // The connection ends before there is any TLS.
  assert.equal(await asked("nobody.example").catch(() => " "), " ");
  let words = "";
  for await (const chunk of connect(Number(new URL(tcp).port), "127.0.0.1")) words += String(chunk);
  assert.equal(words, "beta");
}
