/** What a listener logs of its connections, whatever becomes of them: Heddle's planes, and Envoy. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";

import { makeTestAuthority } from "../../support/test-certificates.ts";
import { type PlaneFiles, type PlaneName, planeNames, type Ports, startPlanes } from "./planes.ts";
import type { Planes } from "./planes.ts";

/** On the first one it is looked whether Envoy is there. */
const names = ["probe", "http", "tcp", "refused", "denied", "tls", "nobody", "filtered"] as const;
type Name = (typeof names)[number];

let planes: Planes<Name>;
let application: net.Server;

before(async () => {
  application = net.createServer((socket) => {
    socket.on("error", () => undefined);
    socket.on("data", () => socket.end("pong"));
  });
  application.listen(0, "127.0.0.1");
  await once(application, "listening");
  const authority = await makeTestAuthority();
  const issued = await authority.issue({ dnsNames: ["server.test"] });
  const address = application.address();
  assert.ok(typeof address === "object" && address !== null);
  planes = await startPlanes(names, (ports, files) =>
    bootstrap(ports, files, { application: address.port, ...issued }),
  );
});

after(async () => {
  await planes.close();
  application.close();
});

for (const plane of planeNames) {
  test(`connections are logged by their listener as Envoy does: ${plane}`, async () => {
    const expected: string[] = [];
    const actual: string[] = [];
    for (const name of ["http", "tcp", "refused", "nobody", "filtered"] as const) {
      expected.push(await logOf("envoy", name));
      actual.push(await logOf(plane, name));
    }
    assert.deepEqual(actual, expected);
  });
}

for (const plane of [...planeNames, "envoy"] as const) {
  test(`connections that come to nothing are logged, with the reason: ${plane}`, async () => {
    // Envoy decides when the first bytes come and counts them.
    const denied = await logOf(plane, "denied");
    assert.match(
      denied,
      /^denied NotSet - 0 - - rbac_access_denied_matched_policy\[none\] [04] 0 /,
    );
    // The words are those of each one's TLS library.
    assert.match(await logOf(plane, "tls"), /^tls NotSet - 0 - - - 0 0 .* [^ ]{10,}$/);
  });
}

async function logOf(plane: PlaneName, name: Name): Promise<string> {
  const before = linesOf(plane, name).length;
  await visit(planes.port(plane, name), name);
  for (let tries = 0; tries < 400; tries++) {
    const line = linesOf(plane, name)[before];
    if (line !== undefined) return line;
    await sleep(10);
  }
  return "no line";
}

function linesOf(plane: PlaneName, name: Name): readonly string[] {
  return planes.log(plane).filter((line) => line.startsWith(`${name} `));
}

async function visit(port: number, name: Name): Promise<void> {
  if (name === "tls") {
    // It asks for a certificate that we do not have.
    const socket = connectTls({ port, host: "127.0.0.1", rejectUnauthorized: false });
    socket.on("error", () => undefined);
    await closed(socket);
    return;
  }
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => undefined);
  socket.on("data", () => undefined);
  await once(socket, "connect");
  if (name === "http" || name === "filtered") {
    socket.write("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
  } else socket.write("ping");
  await closed(socket);
}

/** However it ends. */
function closed(socket: net.Socket): Promise<void> {
  return new Promise((resolve) => socket.once("close", () => resolve()));
}

const types = "type.googleapis.com/envoy.extensions";
const operators = [
  "ACCESS_LOG_TYPE",
  "PROTOCOL",
  "RESPONSE_CODE",
  "RESPONSE_FLAGS",
  "RESPONSE_CODE_DETAILS",
  "CONNECTION_TERMINATION_DETAILS",
  "BYTES_RECEIVED",
  "BYTES_SENT",
  "UPSTREAM_CLUSTER",
  "ROUTE_NAME",
  "REQUESTED_SERVER_NAME",
  "DOWNSTREAM_TLS_VERSION",
  "REQ(:METHOD)",
  "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
].map((name) => `%${name}%`);

interface Others {
  readonly application: number;
  readonly chainPem: string;
  readonly privateKeyPem: string;
}

function bootstrap(ports: Ports<Name>, { logFile }: PlaneFiles, others: Others): string {
  const manager = {
    name: "http",
    typed_config: {
      "@type": `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "http",
      route_config: {
        virtual_hosts: [
          {
            name: "all",
            domains: ["*"],
            routes: [
              {
                match: { prefix: "/" },
                direct_response: { status: 200, body: { inline_string: "hello" } },
              },
            ],
          },
        ],
      },
      http_filters: [
        { name: "router", typed_config: { "@type": `${types}.filters.http.router.v3.Router` } },
      ],
    },
  };
  const tcp = (cluster: string): object => ({
    name: "tcp",
    typed_config: {
      "@type": `${types}.filters.network.tcp_proxy.v3.TcpProxy`,
      stat_prefix: "tcp",
      cluster,
    },
  });
  const nobody = {
    name: "rbac",
    typed_config: {
      "@type": `${types}.filters.network.rbac.v3.RBAC`,
      stat_prefix: "rbac",
      rules: { action: "ALLOW" },
    },
  };
  const chains: Readonly<Record<Name, object>> = {
    probe: { filters: [manager] },
    http: { filters: [manager] },
    filtered: { filters: [manager] },
    tcp: { filters: [tcp("application")] },
    refused: { filters: [tcp("closed")] },
    denied: { filters: [nobody, tcp("application")] },
    nobody: {
      filter_chain_match: {
        source_prefix_ranges: [{ address_prefix: "192.0.2.0", prefix_len: 24 }],
      },
      filters: [tcp("application")],
    },
    tls: {
      filters: [tcp("application")],
      transport_socket: {
        name: "tls",
        typed_config: {
          "@type": `${types}.transport_sockets.tls.v3.DownstreamTlsContext`,
          require_client_certificate: true,
          common_tls_context: {
            tls_certificates: [
              {
                certificate_chain: { inline_string: others.chainPem },
                private_key: { inline_string: others.privateKeyPem },
              },
            ],
            validation_context: { trusted_ca: { inline_string: others.chainPem } },
          },
        },
      },
    },
  };
  const logger = (name: Name): object => ({
    name: "file",
    // One is told of ends of requests alone, of which a listener knows nothing, beside those of connections.
    ...(name === "filtered"
      ? {
          filter: {
            or_filter: {
              filters: [
                { log_type_filter: { types: ["DownstreamEnd"] } },
                { log_type_filter: { types: ["NotSet"] } },
              ],
            },
          },
        }
      : {}),
    typed_config: {
      "@type": `${types}.access_loggers.file.v3.FileAccessLog`,
      path: logFile,
      log_format: {
        text_format_source: { inline_string: `${name} ${operators.join(" ")}\n` },
      },
    },
  });
  const silent = {
    name: "file",
    filter: { log_type_filter: { types: ["DownstreamEnd", "TcpConnectionEnd"] } },
    typed_config: {
      "@type": `${types}.access_loggers.file.v3.FileAccessLog`,
      path: logFile,
      log_format: { text_format_source: { inline_string: "never\n" } },
    },
  };
  const cluster = (name: string, port: number): object => ({
    name,
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: name,
      endpoints: [
        {
          lb_endpoints: [
            {
              endpoint: {
                address: { socket_address: { address: "127.0.0.1", port_value: port } },
              },
            },
          ],
        },
      ],
    },
  });
  return JSON.stringify({
    static_resources: {
      listeners: names.map((name) => ({
        name,
        address: { socket_address: { address: "127.0.0.1", port_value: ports[name] } },
        access_log: [silent, logger(name)],
        filter_chains: [chains[name]],
      })),
      clusters: [cluster("application", others.application), cluster("closed", 1)],
    },
  });
}
