/**
 * Which TLS sessions are resumed, by servers and by clients, and what a resumed connection is taken
 * for: on both I/O backends, with data workers, and under Envoy, which runs the same file.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { systemClock } from "../../../src/base/clock.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority, type TestCertificate } from "../../support/test-certificates.ts";
import { threads } from "../../support/workers.ts";

const cart = "spiffe://cluster.local/ns/default/sa/cart";
const authority = await makeTestAuthority();
const stranger = await makeTestAuthority();
const catalog = await authority.issue({ uris: ["spiffe://cluster.local/ns/default/sa/catalog"] });
const certificates = {
  cart: await authority.issue({ uris: [cart] }),
  admin: await authority.issue({ uris: ["spiffe://cluster.local/ns/default/sa/admin"] }),
  foreign: await stranger.issue({ uris: [cart] }),
  none: undefined,
} as const;
const ticketKey = randomBytes(80).toString("base64");

const planes = ["envoy", "portable", "epoll", "two workers"] as const;
type PlaneName = (typeof planes)[number];
type Version = "TLSv1.2" | "TLSv1.3";

interface Step {
  /** Which filter chain. */
  readonly sni: string;
  readonly as: keyof typeof certificates;
  /** What this step's session is called by those that offer it. */
  readonly keepsAs?: string;
  readonly offers?: string;
}

interface Scenario {
  readonly name: string;
  readonly steps: readonly Step[];
  /** Of the last step. */
  readonly comesTo: "resumed" | "full" | "refused";
  /** Who the last connection was taken for. */
  readonly peer?: string;
}

const open: Step = { sni: "open", as: "cart", keepsAs: "s" };
const strict: Step = { sni: "strict", as: "cart", keepsAs: "s" };

const scenarios: readonly Scenario[] = [
  {
    name: "to the same chain",
    steps: [strict, { ...strict, offers: "s" }],
    comesTo: "resumed",
    peer: cart,
  },
  {
    name: "without the certificate that the session has",
    steps: [strict, { sni: "strict", as: "none", offers: "s" }],
    comesTo: "resumed",
    peer: cart,
  },
  {
    name: "with a certificate of somebody else",
    steps: [strict, { sni: "strict", as: "admin", offers: "s" }],
    comesTo: "resumed",
    peer: cart,
  },
  {
    name: "from a chain that asks for no certificate to one that does",
    steps: [
      { ...open, as: "none" },
      { sni: "strict", as: "none", offers: "s" },
    ],
    comesTo: "refused",
  },
  {
    name: "from a chain with other trust anchors",
    steps: [strict, { sni: "stranger", as: "cart", offers: "s" }],
    comesTo: "refused",
  },
  {
    name: "to another chain that takes the certificate",
    steps: [strict, { sni: "open", as: "cart", offers: "s" }],
    comesTo: "full",
    peer: cart,
  },
  {
    name: "to a chain that takes other names only",
    steps: [strict, { sni: "named", as: "cart", offers: "s" }],
    comesTo: "refused",
  },
  {
    name: "with what a refused client was given",
    steps: [
      { sni: "strict", as: "foreign", keepsAs: "s" },
      { sni: "strict", as: "foreign", offers: "s" },
    ],
    comesTo: "refused",
  },
  {
    name: "where configuration wants none",
    steps: [
      { sni: "off", as: "cart", keepsAs: "s" },
      { sni: "off", as: "cart", offers: "s" },
    ],
    comesTo: "full",
    peer: cart,
  },
  {
    name: "between chains with the same ticket keys and other settings",
    steps: [
      { sni: "keyed", as: "cart", keepsAs: "s" },
      { sni: "keyed-strict", as: "cart", offers: "s" },
    ],
    comesTo: "full",
    peer: cart,
  },
  {
    name: "with ticket keys from configuration",
    steps: [
      { sni: "keyed", as: "cart", keepsAs: "s" },
      { sni: "keyed", as: "cart", offers: "s" },
    ],
    comesTo: "resumed",
    peer: cart,
  },
];

const extensions = "type.googleapis.com/envoy.extensions";

function inline({ chainPem, privateKeyPem }: TestCertificate): object {
  return {
    certificate_chain: { inline_string: chainPem },
    private_key: { inline_string: privateKeyPem },
  };
}

function chain(name: string, rootPem: string, more: object = {}, validation: object = {}): object {
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    http_filters: [
      {
        name: "router",
        typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
      },
    ],
    route_config: {
      response_headers_to_add: [
        { header: { key: "x-peer", value: "%DOWNSTREAM_PEER_URI_SAN%" } },
        { header: { key: "x-name", value: "%REQUESTED_SERVER_NAME%" } },
      ],
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            {
              match: { prefix: "/" },
              direct_response: { status: 200, body: { inline_string: name } },
            },
          ],
        },
      ],
    },
  };
  const context = {
    "@type": `${extensions}.transport_sockets.tls.v3.DownstreamTlsContext`,
    common_tls_context: {
      tls_certificates: [inline(catalog)],
      validation_context: { trusted_ca: { inline_string: rootPem }, ...validation },
    },
    ...more,
  };
  return {
    name,
    filter_chain_match: { server_names: [name] },
    transport_socket: { name: "tls", typed_config: context },
    filters: [{ name: "http", typed_config: manager }],
  };
}

function cluster(name: string, port: number, more: object = {}): object {
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  return {
    name,
    type: "STATIC",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
    },
    transport_socket: {
      name: "tls",
      typed_config: {
        "@type": `${extensions}.transport_sockets.tls.v3.UpstreamTlsContext`,
        sni: "application",
        common_tls_context: {
          tls_certificates: [inline(certificates.cart)],
          validation_context: { trusted_ca: { inline_string: authority.rootPem } },
        },
        ...more,
      },
    },
  };
}

function outbound(port: number): object {
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "outbound",
    http_filters: [
      { name: "router", typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` } },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: ["kept", "not-kept"].map((name) => ({
            match: { path: `/${name}` },
            route: { cluster: name },
          })),
        },
      ],
    },
  };
  return {
    name: "outbound",
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
  };
}

interface Ports {
  readonly inbound: number;
  readonly outbound: number;
}

function bootstrap(ports: Ports, application: number): object {
  const { rootPem } = authority;
  const required = { require_client_certificate: true };
  const onlyAdmin = { san_type: "URI", matcher: { exact: "spiffe://cluster.local/admin" } };
  const keys = { session_ticket_keys: { keys: [{ inline_bytes: ticketKey }] } };
  const inbound = {
    name: "inbound",
    address: { socket_address: { address: "127.0.0.1", port_value: ports.inbound } },
    listener_filters: [
      {
        name: "tls_inspector",
        typed_config: {
          "@type": `${extensions}.filters.listener.tls_inspector.v3.TlsInspector`,
        },
      },
    ],
    filter_chains: [
      chain("open", rootPem),
      chain("strict", rootPem, required),
      chain("stranger", stranger.rootPem, required),
      chain("named", rootPem, required, { match_typed_subject_alt_names: [onlyAdmin] }),
      chain("off", rootPem, {
        disable_stateless_session_resumption: true,
        disable_stateful_session_resumption: true,
      }),
      chain("brief", rootPem, { session_timeout: "100s" }),
      chain("keyed", rootPem, keys),
      chain("keyed-strict", rootPem, { ...keys, ...required }),
    ],
  };
  const clusters = [
    cluster("kept", application),
    cluster("not-kept", application, { max_session_keys: 0 }),
  ];
  return { static_resources: { listeners: [inbound, outbound(ports.outbound)], clusters } };
}

interface Plane {
  readonly ports: Ports;
  readonly close: () => Promise<void>;
}

async function startHeddle(application: number, name: PlaneName): Promise<Plane> {
  const ports = { inbound: await freePort(), outbound: await freePort() };
  const { feed, secrets, nodeId } = parseBootstrap({
    name: "resumption.json",
    text: JSON.stringify(bootstrap(ports, application)),
    parseYaml: (text) => JSON.parse(text),
    readFile: () => Buffer.alloc(0),
  });
  const clock = systemClock;
  // Refused handshakes are warnings.
  const sink = (line: string): void => console.error(line);
  const proxy = startProxy({
    feed,
    secrets,
    clock,
    log: createLog({ level: "error", format: "text", clock, sink }),
    ...threads(name === "two workers" ? 2 : 0),
    random: Math.random,
    peers: noPeers,
    openLog: () => () => {},
    io: name === "portable" ? "portable" : "epoll",
    nodeId,
    version: "test",
  });
  assert.deepEqual(proxy.refusals(), []);
  await proxy.ready;
  return { ports, close: () => proxy.close() };
}

async function startOther(application: number): Promise<Plane> {
  const binary = findEnvoy();
  assert.ok(binary !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  const ports = { inbound: await freePort(), outbound: await freePort() };
  const envoy = startEnvoy(binary, bootstrap(ports, application));
  const deadline = performance.now() + 60_000;
  for (;;) {
    const answer = await fetch(`http://127.0.0.1:${ports.outbound}/`).catch(() => undefined);
    if (answer !== undefined) break;
    assert.ok(performance.now() < deadline, envoy.log());
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { ports, close: () => envoy.stop() };
}

/** Says whether the connection that a request came by was resumed; each request has its own. */
const application = tls.createServer(
  { ...pem(catalog), ca: authority.rootPem, requestCert: true, rejectUnauthorized: false },
  (socket) => {
    socket.on("error", () => {});
    socket.once("data", () => {
      const body = socket.isSessionReused() ? "resumed" : "full";
      const head = `HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: ${body.length}`;
      socket.end(`${head}\r\n\r\n${body}`);
    });
  },
);

function pem(certificate: TestCertificate | undefined): tls.SecureContextOptions {
  if (certificate === undefined) return {};
  return { cert: certificate.chainPem, key: certificate.privateKeyPem };
}

const running = new Map<PlaneName, Plane>();

before(async () => {
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const { port } = application.address() as AddressInfo;
  for (const name of planes) {
    running.set(name, name === "envoy" ? await startOther(port) : await startHeddle(port, name));
  }
});

after(async () => {
  for (const plane of running.values()) await plane.close();
  application.close();
});

interface Visit {
  readonly comesTo: Scenario["comesTo"];
  readonly peer: string | undefined;
  readonly requestedName: string | undefined;
  readonly session: Buffer | undefined;
}

/** One connection and, where it comes to that, one request. */
function visit(port: number, step: Step, how: tls.ConnectionOptions): Promise<Visit> {
  return new Promise((resolve) => {
    let session: Buffer | undefined;
    let answer = "";
    const socket = tls.connect({
      port,
      host: "127.0.0.1",
      servername: step.sni,
      rejectUnauthorized: false,
      ...pem(certificates[step.as]),
      ...how,
    });
    let isReused = false;
    socket.on("session", (given) => (session = given));
    socket.on("secureConnect", () => {
      isReused = socket.isSessionReused();
      socket.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    });
    socket.on("data", (chunk) => (answer += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => {
      const isServed = answer.startsWith("HTTP/1.1 200");
      resolve({
        comesTo: isServed ? (isReused ? "resumed" : "full") : "refused",
        peer: /x-peer: (\S+)/.exec(answer)?.[1],
        requestedName: /x-name: (\S+)/.exec(answer)?.[1],
        session,
      });
    });
  });
}

/** What OpenSSL says of the session that it is given. */
function ticketText(port: number, sni: string, version: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const args = ["s_client", "-connect", `127.0.0.1:${port}`, "-servername", sni, version];
    const client = spawn("openssl", args, { stdio: ["pipe", "pipe", "ignore"] });
    let text = "";
    client.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    client.once("error", reject);
    client.once("close", () => resolve(text));
    client.stdin.write("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
  });
}

for (const version of ["TLSv1.2", "TLSv1.3"] as const) {
  for (const scenario of scenarios) {
    for (const name of planes) {
      test(`a session is offered ${scenario.name} (${name}, ${version})`, async () => {
        const plane = running.get(name);
        assert.ok(plane !== undefined);
        await check(scenario, plane.ports.inbound, version);
      });
    }
  }
}

async function check(scenario: Scenario, port: number, version: Version): Promise<void> {
  const sessions = new Map<string, Buffer>();
  let last: Visit | undefined;
  for (const step of scenario.steps) {
    const session = sessions.get(step.offers ?? "");
    last = await visit(port, step, {
      minVersion: version,
      maxVersion: version,
      ...(session === undefined ? {} : { session }),
    });
    if (step.keepsAs !== undefined && last.session !== undefined) {
      sessions.set(step.keepsAs, last.session);
    }
  }
  const { comesTo, peer } = scenario;
  assert.equal(last?.comesTo, comesTo);
  if (last?.comesTo === "refused") return;
  assert.deepEqual([last?.peer, last?.requestedName], [peer, scenario.steps.at(-1)?.sni]);
}

for (const name of planes) {
  for (const [sni, seconds] of [
    ["open", 7200],
    ["brief", 100],
  ] as const) {
    test(`tickets are good for ${seconds} s, and not for early data (${name})`, async () => {
      const plane = running.get(name);
      assert.ok(plane !== undefined);
      const { inbound } = plane.ports;
      const hint = new RegExp(`ticket lifetime hint: ${seconds} \\(`);
      assert.match(await ticketText(inbound, sni, "-tls1_2"), hint);
      const modern = await ticketText(inbound, sni, "-tls1_3");
      // BoringSSL knows one time for all tickets of TLS 1.3: two days.
      if (name !== "envoy") assert.match(modern, hint);
      assert.match(modern, /Max Early Data: 0\n/);
    });
  }

  test(`a cluster's sessions are offered to its servers, as many as configured (${name})`, async () => {
    const plane = running.get(name);
    assert.ok(plane !== undefined);
    const ask = async (path: string): Promise<string> => {
      const answer = await fetch(`http://127.0.0.1:${plane.ports.outbound}${path}`);
      return await answer.text();
    };
    const seen: string[] = [];
    for (let i = 0; i < 8; i++) seen.push(await ask("/kept"));
    // Node's servers give a session that goes on no new one; data workers have a first one each.
    assert.ok(seen.filter((how) => how === "resumed").length >= 3, seen.join(" "));
    for (let i = 0; i < 4; i++) assert.equal(await ask("/not-kept"), "full");
  });
}
