/**
 * What callers of gRPC get from the proxy itself: the status in headers alone, its message, and what the
 * access log says of it. Heddle on either backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { freePort } from "../../support/free-port.ts";
import { endHeaders, type Fields, frame, RawClient } from "../http2/raw-client.ts";
import { type Plane, type PlaneName, planeNames, startPlane } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const format = [
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
  "%GRPC_STATUS% %GRPC_STATUS(CAMEL_STRING)% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%",
  "%REQ(:PATH)%\n",
].join(" ");

const planes = new Map<PlaneName, Plane>();
/** Answers nothing, ever. */
const application = http.createServer(() => {});

function routes(): readonly object[] {
  const to = (path: string, more: object): object => ({ match: { path }, ...more });
  const direct = (status: number, text: string): object => ({
    direct_response: { status, body: { inline_string: text } },
  });
  const faulty = (abort: object): object => ({
    route: { cluster: "app" },
    typed_per_filter_config: {
      "envoy.filters.http.fault": {
        "@type": `${extensions}.filters.http.fault.v3.HTTPFault`,
        abort: { percentage: { numerator: 100 }, ...abort },
      },
    },
  });
  return [
    { match: { prefix: "/matched", grpc: {} }, ...direct(200, "gRPC") },
    { match: { prefix: "/matched" }, ...direct(200, "other") },
    ...[200, 204, 301, 400, 401, 403, 404, 408, 418, 429, 500, 502, 503, 504].map((status) =>
      to(`/direct-${status}`, direct(status, status === 204 ? "" : `it is ${status}`)),
    ),
    {
      match: { path: "/cased", headers: [{ name: "X-Any-CASE", string_match: { exact: "1" } }] },
      ...direct(200, "matched"),
    },
    to("/message", direct(503, "50% of \u00fcber\n\ttwo lines \u20ac ~")),
    to("/redirect", { redirect: { path_redirect: "/elsewhere" } }),
    to("/no-cluster", { route: { cluster: "nowhere" } }),
    to("/dead", { route: { cluster: "dead" } }),
    to("/empty", { route: { cluster: "empty" } }),
    to("/timeout", { route: { cluster: "app", timeout: "0.1s" } }),
    to("/per-try", {
      route: { cluster: "app", retry_policy: { retry_on: "", per_try_timeout: "0.1s" } },
    }),
    to("/idle", { route: { cluster: "app", timeout: "0s", idle_timeout: "0.1s" } }),
    to("/duration", {
      route: {
        cluster: "app",
        timeout: "0s",
        max_stream_duration: { max_stream_duration: "0.1s", grpc_timeout_header_max: "0s" },
      },
    }),
    to("/duration-offset", {
      route: {
        cluster: "app",
        timeout: "0s",
        max_stream_duration: {
          grpc_timeout_header_max: "0.2s",
          grpc_timeout_header_offset: "0.05s",
        },
      },
    }),
    to("/legacy-timeout", { route: { cluster: "app", timeout: "0s", max_grpc_timeout: "0.1s" } }),
    to("/fault-grpc", faulty({ grpc_status: 8 })),
    to("/fault-http", faulty({ http_status: 429 })),
    to("/denied", {
      route: { cluster: "app" },
      typed_per_filter_config: {
        "envoy.filters.http.rbac": {
          "@type": `${extensions}.filters.http.rbac.v3.RBACPerRoute`,
          rbac: { rules: { action: "ALLOW", policies: {} } },
        },
      },
    }),
  ];
}

function bootstrap(port: number, logFile: string, ports: { app: number; dead: number }): object {
  const address = (at: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: at },
  });
  const cluster = (name: string, at?: number): object => ({
    name,
    type: "STATIC",
    connect_timeout: "1s",
    load_assignment: {
      cluster_name: name,
      endpoints:
        at === undefined ? [] : [{ lb_endpoints: [{ endpoint: { address: address(at) } }] }],
    },
  });
  const filter = (name: string, type: string, config: object = {}): object => ({
    name: `envoy.filters.http.${name}`,
    typed_config: { "@type": `${extensions}.filters.http.${type}`, ...config },
  });
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "grpc",
    access_log: [
      {
        name: "file",
        typed_config: {
          "@type": `${extensions}.access_loggers.file.v3.FileAccessLog`,
          path: logFile,
          log_format: { text_format_source: { inline_string: format } },
        },
      },
    ],
    route_config: {
      validate_clusters: false,
      virtual_hosts: [{ name: "all", domains: ["*"], routes: routes() }],
    },
    http_filters: [
      filter("rbac", "rbac.v3.RBAC"),
      filter("fault", "fault.v3.HTTPFault"),
      filter("router", "router.v3.Router"),
    ],
  };
  return {
    static_resources: {
      clusters: [cluster("app", ports.app), cluster("dead", ports.dead), cluster("empty")],
      listeners: [
        {
          name: "grpc",
          address: address(port),
          filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
        },
      ],
    },
  };
}

before(async () => {
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const ports = {
    app: (application.address() as AddressInfo).port,
    // Nobody listens there.
    dead: await freePort(),
  };
  for (const name of planeNames) {
    planes.set(name, await startPlane(name, (port, file) => bootstrap(port, file, ports)));
  }
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  application.close();
  application.closeAllConnections();
});

function call(path: string, contentType: string, ...more: Fields): Fields {
  return [
    [":method", "POST"],
    [":scheme", "http"],
    [":authority", "shop.test"],
    [":path", path],
    ["content-type", contentType],
    ["te", "trailers"],
    ...more,
  ];
}

const accidental = /^(date|server|x-envoy-upstream-service-time)$/;

async function ask(name: PlaneName, fields: Fields): Promise<object> {
  const { port, readLog } = planes.get(name) ?? assert.fail();
  const logged = readLog().length;
  const client = await RawClient.connect(port);
  client.begin();
  client.request(1, fields, endHeaders);
  client.frame(frame.data, 1, 1, Buffer.from([0, 0, 0, 0, 2, 8, 1]));
  await client.settle([1], 20_000);
  const until = performance.now() + 60_000;
  while (readLog().length === logged && performance.now() < until) await sleep(5);
  client.close();
  const { status, fields: found = {}, body, reset: code, isWhole } = client.streams.get(1) ?? {};
  // Who answers before it has seen the request's end asks for no more; that is chance.
  const reset = code === 0 ? undefined : code;
  const kept = Object.entries(found)
    .filter(([one]) => !accidental.test(one))
    .map(([one, value]) => `${one}: ${value}`);
  return { status, fields: kept.toSorted(), body, reset, isWhole, log: readLog().slice(logged) };
}

const grpc = "application/grpc";
const timeout = (text: string): readonly [string, string] => ["grpc-timeout", text];

/** By what is asked. */
const questions: Readonly<Record<string, Fields>> = {
  "no route": call("/missing", grpc),
  ...Object.fromEntries(
    [200, 204, 301, 400, 401, 403, 404, 408, 418, 429, 500, 502, 503, 504].map((status) => [
      `a direct ${status}`,
      call(`/direct-${status}`, grpc),
    ]),
  ),
  "a message with characters that are escaped": call("/message", grpc),
  "a redirect": call("/redirect", grpc),
  "no cluster": call("/no-cluster", grpc),
  "no endpoint": call("/empty", grpc),
  "an endpoint that refuses": call("/dead", grpc),
  "a timeout of the route": call("/timeout", grpc),
  "a timeout of a try": call("/per-try", grpc),
  "a stream that is idle": call("/idle", grpc),
  "a stream that takes too long": call("/duration", grpc),
  "a caller's deadline": call("/duration", grpc, timeout("50m")),
  "a caller's deadline of another unit": call("/duration", grpc, timeout("50000u")),
  "a caller's deadline above the route's": call("/duration-offset", grpc, timeout("10S")),
  "a caller's deadline less the offset": call("/duration-offset", grpc, timeout("100m")),
  "a caller's deadline that is none": call("/duration", grpc, timeout("5x")),
  "a caller's deadline that is empty": call("/duration", grpc, timeout("")),
  "a caller's deadline of nine digits": call("/duration", grpc, timeout("123456789m")),
  "a caller's deadline that has come": call("/duration", grpc, timeout("0m")),
  "a caller's deadline, the old way": call("/legacy-timeout", grpc, timeout("10S")),
  "a fault with a status of gRPC": call("/fault-grpc", grpc),
  "a fault with a status of HTTP": call("/fault-http", grpc),
  "a policy that denies": call("/denied", grpc),
  "the subtype +proto": call("/direct-503", "application/grpc+proto"),
  "the subtype +json; a parameter": call("/direct-503", "application/grpc+json; charset=utf-8"),
  "a parameter": call("/direct-503", "application/grpc; charset=utf-8"),
  "another type that begins so": call("/direct-503", "application/grpcx"),
  "gRPC-Web": call("/direct-503", "application/grpc-web"),
  "a type in capitals": call("/direct-503", "Application/gRPC"),
  "another type": call("/direct-503", "application/json"),
  "a header that is named in another case": call("/cased", grpc, ["x-any-case", "1"]),
  "a match for gRPC": call("/matched", grpc),
  "a match for gRPC with a subtype": call("/matched", "application/grpc+proto"),
  "a match for gRPC with a parameter": call("/matched", "application/grpc; charset=utf-8"),
  "no match for gRPC": call("/matched", "application/json"),
  "no match for gRPC-Web": call("/matched", "application/grpc-web+proto"),
};

for (const [name, fields] of Object.entries(questions)) {
  for (const io of ["portable", "epoll"] as const) {
    test(`gRPC: ${name} is told as Envoy tells it (${io})`, async () => {
      const [heddle, envoy] = await Promise.all([ask(io, fields), ask("envoy", fields)]);
      assert.deepEqual(heddle, envoy, "actual: Heddle, expected: Envoy");
    });
  }
}

for (const name of planeNames) {
  test(`names of headers match in any case over HTTP/1.1 (${name})`, async () => {
    const { port } = planes.get(name) ?? assert.fail();
    for (const header of ["x-any-case", "X-ANY-CASE", "x-Any-casE"]) {
      const socket = net.connect(port, "127.0.0.1");
      let answer = "";
      socket.on("data", (chunk: Buffer) => (answer += chunk.toString()));
      socket.write(`GET /cased HTTP/1.1\r\nHost: a\r\n${header}: 1\r\nConnection: close\r\n\r\n`);
      await once(socket, "close");
      assert.match(answer, /matched$/);
    }
  });
}
