/**
 * Options of connection managers about how messages look and when requests are logged, each under its own
 * listener: Heddle's planes, and Envoy. What leaves towards the endpoint and the client is compared byte by byte.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import {
  type PlaneFiles,
  type PlaneName,
  planeNames,
  type Planes,
  type Ports,
  startPlanes,
} from "./planes.ts";

const names = [
  "plain",
  "proper",
  "kept",
  "keptProper",
  "forgiving",
  "logged",
  "properThere",
  "keptThere",
  "traced",
  "halfTraced",
  "overall",
  "unpacked",
] as const;
type Name = (typeof names)[number];

let planes: Planes<Name>;
let endpoint: net.Server;
/** What the endpoint was sent last. */
let seen = "";

before(async () => {
  endpoint = net.createServer((socket) => {
    let received = "";
    socket.on("error", () => undefined);
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      const isWhole = received.startsWith("GET")
        ? received.endsWith("\r\n\r\n")
        : received.endsWith("0\r\n\r\n");
      if (!isWhole) return;
      seen = received;
      const isSlow = received.includes("/slow");
      const isUpgrade = /upgrade: websocket/i.test(received);
      received = "";
      if (isUpgrade) {
        socket.write(
          "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        setTimeout(() => socket.end(), 30);
        return;
      }
      const answer =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-BackEnd: one\r\nx-backend: two\r\nSERVER: mine\r\n\r\nok";
      if (isSlow) setTimeout(() => socket.write(answer), 450);
      else socket.write(answer);
    });
  });
  endpoint.listen(0, "127.0.0.1");
  await once(endpoint, "listening");
  const address = endpoint.address();
  assert.ok(typeof address === "object" && address !== null);
  const { port } = address;
  planes = await startPlanes(names, (ports, files) => bootstrap(ports, files, port));
});

after(async () => {
  await planes.close();
  endpoint.close();
});

const get =
  "GET / HTTP/1.1\r\nHost: A.Test\r\nX-ReQuest-ID: abc\r\nX-My-Own: 1\r\nx-my-own: 2\r\nUser-AGENT: me\r\n\r\n";
const doubtful =
  "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";

for (const plane of planeNames) {
  for (const name of [
    "plain",
    "proper",
    "kept",
    "keptProper",
    "properThere",
    "keptThere",
  ] as const) {
    test(`names are spelled as Envoy spells them: ${name}, ${plane}`, async () => {
      assert.deepEqual(await exchange(plane, name, get), await exchange("envoy", name, get));
    });
  }

  test(`a length beside a chunked body is forgiven where that is wanted: ${plane}`, async () => {
    for (const name of ["plain", "forgiving"] as const) {
      const ours = await exchange(plane, name, doubtful);
      const theirs = await exchange("envoy", name, doubtful);
      assert.equal(statusOf(ours.answer), statusOf(theirs.answer), name);
      assert.equal(ours.request, theirs.request, name);
    }
  });

  test(`ids tell why their requests are traced: ${plane}`, async () => {
    for (const name of ["plain", "traced", "halfTraced", "overall", "unpacked"] as const) {
      for (const id of ids) {
        for (const more of ["", "x-client-trace-id: 1\r\n", "x-envoy-force-trace: true\r\n"]) {
          const what = `${name} ${id} ${more}`;
          assert.equal(
            await idOf(plane, name, id, more),
            await idOf("envoy", name, id, more),
            what,
          );
        }
      }
    }
  });

  test(`requests that go on are logged: ${plane}`, async () => {
    const slow = "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n";
    const upgrade =
      "GET /up HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    assert.deepEqual(await logOf(plane, slow, "/slow"), await logOf("envoy", slow, "/slow"));
    assert.deepEqual(await logOf(plane, upgrade, "/up"), await logOf("envoy", upgrade, "/up"));
  });
}

/** Kinds of entries in their order; periodic ones counted as one, for how many there are is time's. */
async function logOf(plane: PlaneName, request: string, path: string): Promise<readonly string[]> {
  const entries = (): readonly string[] => planes.log(plane).filter((line) => line.includes(path));
  const earlier = entries().length;
  await exchange(plane, "logged", request);
  for (let tries = 0; tries < 400; tries++) {
    const lines = entries().slice(earlier);
    if (lines.some((line) => line.startsWith("DownstreamEnd"))) {
      return lines.filter((line, i) => line !== lines[i - 1]);
    }
    await sleep(10);
  }
  return ["no end"];
}

/** The last digits of the first number decide: 0 is drawn first, 270f (9,999) last. */
const ids = [
  "00000000-1111-4222-8333-444444444444",
  "0000270f-1111-4222-8333-444444444444",
  "00001000-1111-9222-8333-444444444444",
  "0000270f-1111-a222-8333-444444444444",
  "0000270f-1111-b222-8333-444444444444",
  "00000000-1111-c222-8333-444444444444",
  "00000000",
  "request-7",
];

/** As the endpoint sees it. */
async function idOf(plane: PlaneName, name: Name, id: string, more: string): Promise<string> {
  await exchange(plane, name, `GET / HTTP/1.1\r\nhost: a\r\nx-request-id: ${id}\r\n${more}\r\n`);
  return /x-request-id: ([^\r]*)/.exec(seen)?.[1] ?? "none";
}

function statusOf(answer: string): string {
  return answer.split("\r\n", 1)[0] ?? "";
}

interface Exchange {
  readonly request: string;
  readonly answer: string;
}

async function exchange(plane: PlaneName, name: Name, text: string): Promise<Exchange> {
  seen = "";
  const socket = net.connect(planes.port(plane, name), "127.0.0.1");
  socket.on("error", () => undefined);
  let answer = "";
  const isOver = new Promise<void>((resolve) => {
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      if (/\r\n\r\n.*(ok|Bad Request)$/s.test(answer)) socket.end();
    });
    socket.on("close", () => resolve());
  });
  socket.write(text);
  await isOver;
  const varying = /(x-request-id|x-envoy-upstream-service-time|date|x-b3-\w+): [^\r]*/gi;
  const steady = (message: string): string =>
    message.replaceAll(varying, (_line, header: string) => `${header}: …`);
  return { request: sorted(steady(seen)), answer: sorted(steady(answer)) };
}

/** Lines of a head in one order: which one is first matters to nobody. */
function sorted(message: string): string {
  const [head = "", ...rest] = message.split("\r\n\r\n");
  const [first = "", ...lines] = head.split("\r\n");
  return [[first, ...lines.toSorted()].join("\r\n"), ...rest].join("\r\n\r\n");
}

const types = "type.googleapis.com/envoy.extensions";
const preserve = (own: string): object => ({
  stateful_formatter: {
    name: "preserve_case",
    typed_config: {
      "@type": `${types}.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig`,
      formatter_type_on_envoy_headers: own,
    },
  },
});
const formats: Readonly<Partial<Record<Name, object>>> = {
  proper: { header_key_format: { proper_case_words: {} } },
  kept: { header_key_format: preserve("DEFAULT") },
  keptProper: { header_key_format: preserve("PROPER_CASE") },
  forgiving: { allow_chunked_length: true },
};

function bootstrap(ports: Ports<Name>, { logFile }: PlaneFiles, port: number): string {
  const format = "%ACCESS_LOG_TYPE% %REQ(:PATH)% %RESPONSE_CODE% %ROUTE_NAME%\n";
  const logged = {
    access_log: [
      {
        name: "file",
        typed_config: {
          "@type": `${types}.access_loggers.file.v3.FileAccessLog`,
          path: logFile,
          log_format: { text_format_source: { inline_string: format } },
        },
      },
    ],
    access_log_options: {
      access_log_flush_interval: "0.2s",
      flush_access_log_on_new_request: true,
      flush_log_on_tunnel_successfully_established: true,
    },
    upgrade_configs: [{ upgrade_type: "websocket" }],
  };
  const uuid = {
    "@type": `${types}.request_id.uuid.v3.UuidRequestIdConfig`,
    pack_trace_reason: false,
  };
  const tracing: Readonly<Partial<Record<Name, object>>> = {
    traced: { tracing: {} },
    halfTraced: { tracing: { random_sampling: { value: 50 }, client_sampling: { value: 0 } } },
    overall: { tracing: { overall_sampling: { value: 40.96 } } },
    unpacked: { tracing: {}, request_id_extension: { typed_config: uuid } },
  };
  const manager = (name: Name): object => ({
    "@type": `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    http_protocol_options: formats[name] ?? {},
    ...(name === "logged" ? logged : {}),
    ...tracing[name],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            {
              name: "route",
              match: { prefix: "/" },
              route: { cluster: name.endsWith("There") ? name : "usual" },
              request_headers_to_add: [{ header: { key: "x-my-added", value: "a" } }],
            },
          ],
        },
      ],
    },
    http_filters: [
      { name: "router", typed_config: { "@type": `${types}.filters.http.router.v3.Router` } },
    ],
  });
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
  const cluster = (name: string, http1: object): object => ({
    name,
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
    },
    typed_extension_protocol_options: {
      [options]: {
        "@type": `type.googleapis.com/${options}`,
        explicit_http_config: { http_protocol_options: http1 },
      },
    },
  });
  return JSON.stringify({
    static_resources: {
      listeners: names.map((name) => ({
        name,
        address: { socket_address: { address: "127.0.0.1", port_value: ports[name] } },
        filter_chains: [{ filters: [{ name: "http", typed_config: manager(name) }] }],
      })),
      clusters: [
        cluster("usual", {}),
        cluster("properThere", { header_key_format: { proper_case_words: {} } }),
        cluster("keptThere", { header_key_format: preserve("DEFAULT") }),
      ],
    },
  });
}
