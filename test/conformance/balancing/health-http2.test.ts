/** Health checks by gRPC and by HTTP/2 beside Envoy on the same file, and over which sockets they go. */
import assert from "node:assert/strict";
import http2 from "node:http2";
import https from "node:https";
import net from "node:net";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { agreedOf, flagsOf } from "./health-planes.ts";
import { bootstrapOf, type Place, type Plane, startPlanes } from "./planes.ts";

const often = "interval: 0.1s, no_traffic_interval: 0.1s";
const two = "unhealthy_threshold: 2, healthy_threshold: 2";
const autoOptions = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, auto_config: {}}}`;
const http2Options = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`;

type Stream = http2.ServerHttp2Stream;

const issued = await (await makeTestAuthority()).issue({ dnsNames: ["check.test"] });
const server = http2.createServer();
const secure = http2.createSecureServer({
  key: issued.privateKeyPem,
  cert: issued.chainPem,
  ALPNProtocols: ["h2", "spare"],
});
/** Speaks HTTP/1.1, and that only. */
const older = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.on("data", () => socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"));
});
const secureOlder = https.createServer(
  { key: issued.privateKeyPem, cert: issued.chainPem },
  (_request, response) => void response.end("fine"),
);
/** What came, by case and data plane: the head, and which connection it was on. */
const asked = new Map<string, { head: string; session: http2.Http2Session | undefined }[]>();
const negotiated = new Map<string, Set<string>>();
let planes: readonly Plane[] = [];

const framed = (bytes: readonly number[], flag = 0): Buffer =>
  Buffer.from([flag, 0, 0, 0, bytes.length, ...bytes]);
const grpcHead = { ":status": 200, "content-type": "application/grpc" };

function answerCall(stream: Stream, body: Buffer, status: string | undefined = "0"): void {
  stream.respond(grpcHead, { waitForTrailers: status !== undefined });
  stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status ?? "" }));
  stream.end(body);
}

const onlyTrailers = (status: string) => (stream: Stream) =>
  stream.respond({ ...grpcHead, "grpc-status": status }, { endStream: true });

/** By the service that is asked for; whether it passes. */
const calls: Readonly<Record<string, readonly [answer: (stream: Stream) => void, flags: string]>> =
  (() => {
    const failed = "/failed_active_hc";
    return {
      serving: [(stream) => answerCall(stream, framed([8, 1])), "healthy"],
      "with-more": [(stream) => answerCall(stream, framed([18, 1, 97, 8, 1])), "healthy"],
      "in-parts": [
        (stream) => {
          stream.respond(grpcHead, { waitForTrailers: true });
          stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
          const bytes = framed([8, 1]);
          stream.write(bytes.subarray(0, 3), () => stream.end(bytes.subarray(3)));
        },
        "healthy",
      ],
      "not-serving": [(stream) => answerCall(stream, framed([8, 2])), failed],
      "service-unknown": [(stream) => answerCall(stream, framed([8, 3])), failed],
      unknown: [(stream) => answerCall(stream, framed([])), failed],
      nothing: [(stream) => answerCall(stream, Buffer.alloc(0)), failed],
      "serving-with-status": [(stream) => answerCall(stream, framed([8, 1]), "13"), failed],
      unimplemented: [onlyTrailers("12"), failed],
      "not-found": [onlyTrailers("5"), failed],
      "ok-without-message": [onlyTrailers("0"), failed],
      twice: [
        (stream) => answerCall(stream, Buffer.concat([framed([8, 1]), framed([8, 1])])),
        failed,
      ],
      compressed: [(stream) => answerCall(stream, framed([8, 1], 1)), failed],
      garbage: [(stream) => answerCall(stream, framed([255])), failed],
      "no-trailers": [
        (stream) => {
          stream.respond(grpcHead);
          stream.end(framed([8, 1]));
        },
        failed,
      ],
      "no-call": [
        (stream) => {
          stream.respond({ ":status": 200, "content-type": "text/plain" });
          stream.end("fine");
        },
        failed,
      ],
      unavailable: [(stream) => stream.respond({ ":status": 503 }, { endStream: true }), failed],
      silent: [() => {}, `${failed}/active_hc_timeout`],
      resets: [(stream) => stream.close(http2.constants.NGHTTP2_CANCEL), failed],
      leaves: [
        (stream) => {
          stream.session?.goaway();
          answerCall(stream, framed([8, 1]));
        },
        "healthy",
      ],
      "leaves-in-anger": [
        (stream) => stream.session?.goaway(http2.constants.NGHTTP2_INTERNAL_ERROR),
        failed,
      ],
      gone: [(stream) => stream.session?.destroy(), failed],
      once: [(stream) => answerCall(stream, framed([8, 1])), "healthy"],
    };
  })();

/** By the path's part that says so. */
const pages: Readonly<Record<string, readonly [answer: (stream: Stream) => void, flags: string]>> =
  {
    page: [(stream) => stream.respond({ ":status": 200 }, { endStream: true }), "healthy"],
    wrong: [
      (stream) => stream.respond({ ":status": 503 }, { endStream: true }),
      "/failed_active_hc",
    ],
    degraded: [
      (stream) => stream.respond({ ":status": 200, "x-envoy-degraded": "1" }, { endStream: true }),
      "/degraded_active_hc",
    ],
    body: [
      (stream) => {
        stream.respond({ ":status": 200 });
        stream.write("fi");
        stream.end("ne");
      },
      "healthy",
    ],
    "no-body": [
      (stream) => {
        stream.respond({ ":status": 200 });
        stream.end("fi");
      },
      "/failed_active_hc",
    ],
    late: [() => {}, "/failed_active_hc/active_hc_timeout"],
    posted: [
      (stream) => {
        stream.respond({ ":status": 200 });
        stream.pipe(stream);
      },
      "healthy",
    ],
    going: [
      (stream) => {
        stream.session?.goaway();
        stream.respond({ ":status": 200 }, { endStream: true });
      },
      "healthy",
    ],
  };
const pageChecks: Readonly<Record<string, string>> = {
  body: ", receive: [{text: '66696e65'}]",
  "no-body": ", receive: [{text: '66696e65'}]",
  posted:
    ", method: POST, host: shop.test, send: {text: '6869'}, receive: [{text: '6869'}], request_headers_to_add: [{header: {key: x-one, value: '1'}}]",
};

const at = (port: number, more = ""): string =>
  `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}${more}}`;
const portOf = (one: net.Server): number => (one.address() as net.AddressInfo).port;

function cluster(name: string, check: string, ...more: readonly string[]): string {
  const [endpoint = at(portOf(server)), ...rest] = more;
  const assignment = `{cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoint}]}]}`;
  const timeout = name === "grpc-silent" || name === "h2-late" ? "0.3s" : "10s";
  return `{${[`name: ${name}`, "connect_timeout: 1s", `load_assignment: ${assignment}`, `health_checks: [{timeout: ${timeout}, ${often}, ${two}, ${check}}]`, ...rest].join(", ")}}`;
}

const tls = (alpn: string): string =>
  `{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, sni: check.test, common_tls_context: {alpn_protocols: [${alpn}]}}}`;
const page = (name: string, place: Place, more = ""): string =>
  `http_health_check: {codec_client_type: HTTP2, path: /check/${name}/${place.port}${more}}`;

function clustersFor(place: Place, deadPort: number): readonly string[] {
  const call = (service: string, more = ""): string =>
    `grpc_health_check: {service_name: ${service}/${place.port}${more}}`;
  const secureAt = at(portOf(secure));
  return [
    ...Object.keys(calls).map((name) =>
      cluster(
        `grpc-${name}`,
        `${name === "once" ? "reuse_connection: false, " : ""}${call(name)}`,
        at(portOf(server)),
        http2Options,
      ),
    ),
    cluster(
      "grpc-named",
      call(
        "serving",
        ", authority: shop.test, initial_metadata: [{header: {key: x-one, value: '1'}}, {header: {key: user-agent, value: mine}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}]",
      ),
      at(portOf(server)),
      http2Options,
    ),
    cluster("grpc-dead", call("serving"), at(deadPort), http2Options),
    cluster("grpc-older", call("serving"), at(portOf(older)), http2Options),
    cluster("grpc-tls", call("serving"), secureAt, http2Options, `transport_socket: ${tls("h2")}`),
    ...Object.keys(pages).map((name) =>
      cluster(`h2-${name}`, page(name, place, pageChecks[name] ?? "")),
    ),
    cluster("h2-dead", page("page", place), at(deadPort)),
    cluster("h2-older", page("page", place), at(portOf(older))),
    cluster("h2-tls", page("page-tls", place), secureAt, `transport_socket: ${tls("h2")}`),
    // Where the protocol is agreed on with each connection, a check speaks what it says all the same.
    ...["h2", "h2, http/1.1", "http/1.1"].map((names, i) =>
      cluster(
        `agreed-${i}`,
        page(`page-agreed-${i}`, place),
        secureAt,
        autoOptions,
        `transport_socket: ${tls(names)}`,
      ),
    ),
    cluster(
      "agreed-older",
      `http_health_check: {path: /check/older/${place.port}}`,
      at(portOf(secureOlder)),
      autoOptions,
      `transport_socket: ${tls("h2, http/1.1")}`,
    ),
    cluster(
      "agreed-older-h2",
      page("page-agreed-older", place),
      at(portOf(secureOlder)),
      autoOptions,
      `transport_socket: ${tls("h2, http/1.1")}`,
    ),
    cluster(
      "agreed-grpc",
      call("serving", ", authority: agreed.test"),
      secureAt,
      autoOptions,
      `transport_socket: ${tls("h2")}`,
    ),
    cluster(
      "h2-offered",
      `tls_options: {alpn_protocols: [h2]}, ${page("page-offered", place)}`,
      secureAt,
      `transport_socket: ${tls("spare")}`,
    ),
    cluster(
      "h2-chosen",
      `transport_socket_match_criteria: {checked: tls}, ${page("page-chosen", place)}`,
      secureAt,
      `transport_socket_matches: [{name: tls, match: {checked: tls}, transport_socket: ${tls("h2")}}]`,
    ),
    cluster(
      "h2-unmatched",
      `transport_socket_match_criteria: {checked: other}, ${page("page-unmatched", place)}`,
      secureAt,
      `transport_socket_matches: [{name: tls, match: {checked: tls}, transport_socket: ${tls("h2")}}]`,
    ),
  ];
}

const expected: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.entries(calls).map(([name, [, flags]]) => [`grpc-${name}`, flags])),
  ...Object.fromEntries(Object.entries(pages).map(([name, [, flags]]) => [`h2-${name}`, flags])),
  "grpc-named": "healthy",
  "grpc-dead": "/failed_active_hc",
  "grpc-older": "/failed_active_hc",
  "grpc-tls": "healthy",
  "h2-dead": "/failed_active_hc",
  "h2-older": "/failed_active_hc",
  "h2-tls": "healthy",
  "agreed-0": "healthy",
  "agreed-1": "healthy",
  "agreed-2": "/failed_active_hc",
  "agreed-older": "healthy",
  "agreed-older-h2": "/failed_active_hc",
  "agreed-grpc": "healthy",
  "h2-offered": "healthy",
  "h2-chosen": "healthy",
  "h2-unmatched": "/failed_active_hc",
};

function onStream(stream: Stream, headers: http2.IncomingHttpHeaders, _flags: number): void {
  stream.on("error", () => {});
  const chunks: Buffer[] = [];
  const note = (key: string, plane: string): void => {
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${String(value)}`);
    const head = lines.toSorted().join("\n").replaceAll(plane, "PLANE");
    asked.set(key, [...(asked.get(key) ?? []), { head, session: stream.session }]);
    const socket = stream.session?.socket;
    if (socket !== undefined && "alpnProtocol" in socket) {
      const names = negotiated.get(key) ?? new Set();
      negotiated.set(key, names.add(String(socket.alpnProtocol)));
    }
  };
  const path = String(headers[":path"]);
  if (path.startsWith("/check/")) {
    const [, , name = "", plane = ""] = path.split("/");
    note(`${name} ${plane}`, plane);
    return (pages[name] ?? pages["page"])?.[0](stream);
  }
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("end", () => {
    const body = Buffer.concat(chunks);
    const [name = "", plane = ""] = body.toString("latin1", 7).split("/");
    note(`call ${String(headers[":authority"])} ${plane}`, plane);
    calls[name]?.[0](stream);
  });
}

before(async () => {
  const open = (one: net.Server): Promise<void> =>
    new Promise((resolve) => void one.listen(0, "127.0.0.1", resolve));
  for (const each of [server, secure]) {
    each.on("sessionError", () => {});
    each.on("stream", onStream);
  }
  await Promise.all([open(server), open(secure), open(older), open(secureOlder)]);
  const deadPort = await freePort();
  planes = await startPlanes(
    (place) => bootstrapOf(place, { clusters: clustersFor(place, deadPort), routes: [] }),
    { workers: 2 },
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  secureOlder.closeAllConnections();
  for (const each of [server, secure, older, secureOlder]) each.close();
});

for (const [name, flags] of Object.entries(expected)) {
  test(`the endpoint of '${name}' is ${flags}`, async () => {
    const found = await agreedOf(
      planes,
      (plane) => flagsOf(plane, name),
      (lines) => lines.every((line) => line.endsWith(`:${flags}`)),
    );
    assert.equal(found.length, 1);
  });
}

test("the question is Envoy's", () => {
  for (const name of ["page", "posted", "page-tls", "call grpc-serving", "call shop.test"]) {
    const heads = planes.map((plane) => asked.get(`${name} ${plane.port}`)?.[0]?.head);
    for (const [i, plane] of planes.entries()) {
      assert.equal(heads[i], heads.at(-1), `${name}, ${plane.name}`);
    }
    assert.notEqual(heads[0], undefined, name);
  }
});

test("TLS offers what the check says, else what its context says", () => {
  for (const name of ["page-tls", "page-offered", "page-chosen", "call grpc-tls"]) {
    for (const plane of planes) {
      assert.deepEqual([...(negotiated.get(`${name} ${plane.port}`) ?? [])], ["h2"], plane.name);
    }
  }
});

/** Waits until the last four checks have come over so many connections. */
async function connections(key: string, count: number): Promise<void> {
  await agreedOf(
    planes,
    async (plane) => {
      const last = (asked.get(`${key} ${plane.port}`) ?? []).slice(-4);
      return last.length < 4 ? 0 : new Set(last.map(({ session }) => session)).size;
    },
    (found) => found === count,
  );
}

test("connections are used again unless that is forbidden, here or there", async () => {
  await connections("call grpc-serving", 1);
  await connections("page", 1);
  await connections("call grpc-once", 4);
  await connections("call grpc-leaves", 4);
  await connections("going", 4);
  // gRPC's alone outlive a check without an answer, and one that is broken off.
  await connections("call grpc-silent", 1);
  await connections("late", 4);
  await connections("call grpc-resets", 1);
});
