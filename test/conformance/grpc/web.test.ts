/**
 * Browsers' calls of gRPC-Web to a server of gRPC: bodies in bytes and in base64, trailers behind them,
 * answers that are none of gRPC's, other origins. Heddle on either backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { type Plane, type PlaneName, planeNames, startPlane } from "./planes.ts";
import { message, type ScriptedServer, startScriptedServer } from "./scripted-server.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const format = [
  "%REQ(X-CASE)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%",
  "messages=%FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)% in=%BYTES_RECEIVED% out=%BYTES_SENT%\n",
].join(" ");
const planes = new Map<PlaneName, Plane>();
let server: ScriptedServer | undefined;

function bootstrap(port: number, logFile: string, serverPort: number): object {
  const address = (at: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: at },
  });
  const filter = (name: string, type: string, config: object = {}): object => ({
    name: `envoy.filters.http.${name}`,
    typed_config: { "@type": `${extensions}.filters.http.${type}`, ...config },
  });
  const cors = {
    "@type": `${extensions}.filters.http.cors.v3.CorsPolicy`,
    allow_origin_string_match: [{ exact: "https://shop.test" }],
    allow_methods: "POST",
    allow_headers: "content-type,x-grpc-web,x-user-agent,grpc-timeout",
    expose_headers: "grpc-status,grpc-message",
    max_age: "600",
  };
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "web",
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
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          typed_per_filter_config: { "envoy.filters.http.cors": cors },
          routes: [
            {
              match: { prefix: "/direct" },
              direct_response: { status: 403, body: { inline_string: "not you" } },
            },
            { match: { prefix: "/nothing" }, direct_response: { status: 404 } },
            {
              match: { prefix: "/delayed" },
              route: { cluster: "server", prefix_rewrite: "/late/0" },
              typed_per_filter_config: {
                "envoy.filters.http.fault": {
                  "@type": `${extensions}.filters.http.fault.v3.HTTPFault`,
                  delay: { fixed_delay: "0.05s", percentage: { numerator: 100 } },
                },
              },
            },
            { match: { prefix: "/" }, route: { cluster: "server", timeout: "0s" } },
          ],
        },
      ],
    },
    http_filters: [
      filter("fault", "fault.v3.HTTPFault"),
      filter("cors", "cors.v3.Cors"),
      filter("grpc_web", "grpc_web.v3.GrpcWeb"),
      filter("grpc_stats", "grpc_stats.v3.FilterConfig", { emit_filter_state: true }),
      filter("router", "router.v3.Router"),
    ],
  };
  return {
    static_resources: {
      clusters: [
        {
          name: "server",
          type: "STATIC",
          connect_timeout: "5s",
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: "server",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(serverPort) } }] }],
          },
        },
      ],
      listeners: [
        {
          name: "web",
          address: address(port),
          filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
        },
      ],
    },
  };
}

before(async () => {
  server = await startScriptedServer();
  const { port: serverPort } = server;
  for (const name of planeNames) {
    planes.set(name, await startPlane(name, (port, file) => bootstrap(port, file, serverPort)));
  }
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  server?.close();
});

type Fields = Readonly<Record<string, string>>;
type Protocol = "http1" | "http2";

interface Call {
  readonly path: string;
  readonly method?: string;
  readonly fields?: Fields;
  /** Pieces that are sent one after another. */
  readonly body?: readonly (Buffer | string)[];
  /** Its length is told. */
  readonly hasLength?: boolean;
  /** Whether the server sees it before it is refused is chance. */
  readonly isRefused?: boolean;
}

interface Answer {
  readonly status: number;
  readonly fields: readonly string[];
  readonly body: Buffer;
}

const accidental =
  /^(date|server|x-envoy-upstream-service-time|x-request-id|x-case|connection|keep-alive|:.*)$/;
const chance = /^(x-forwarded-proto|x-forwarded-for|x-envoy-expected-rq-timeout-ms)$/;

function linesOf(fields: NodeJS.Dict<string | string[]>, ...without: readonly RegExp[]): string[] {
  return Object.entries(fields)
    .filter(([name]) => !without.some((one) => one.test(name)))
    .map(([name, value]) => `${name}: ${String(value)}`)
    .toSorted();
}

async function overHttp1(port: number, { path, method = "POST", ...call }: Call): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const headers = { ...call.fields };
  const request = http.request({ port, path, method, headers, agent: false }, (answer) => {
    const pieces: Buffer[] = [];
    answer.on("data", (piece: Buffer) => pieces.push(piece));
    answer.on("error", reject);
    answer.on("end", () => {
      const fields = linesOf(answer.headers, accidental, /^transfer-encoding$/);
      resolve({ status: answer.statusCode ?? 0, fields, body: Buffer.concat(pieces) });
    });
  });
  request.on("error", reject);
  if (method === "POST" && call.hasLength !== true) {
    request.setHeader("transfer-encoding", "chunked");
  }
  if (call.hasLength === true) {
    const bytes = Buffer.concat((call.body ?? []).map((piece) => Buffer.from(piece)));
    request.setHeader("content-length", bytes.length);
  }
  const [first, ...more] = call.body ?? [];
  if (more.length === 0) {
    request.end(first);
    return promise;
  }
  // What is written before it stands goes out at once.
  request.flushHeaders();
  const [socket] = await once(request, "socket");
  if (socket.connecting === true) await once(socket, "connect");
  for (const piece of call.body ?? []) {
    request.write(piece);
    await sleep(2);
  }
  request.end();
  return promise;
}

async function overHttp2(port: number, { path, method = "POST", ...call }: Call): Promise<Answer> {
  const client = http2.connect(`http://127.0.0.1:${port}`);
  client.on("error", () => {});
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const length = Buffer.concat((call.body ?? []).map((piece) => Buffer.from(piece))).length;
  const stream = client.request({
    ":method": method,
    ":path": path,
    ...call.fields,
    ...(call.hasLength === true ? { "content-length": length } : {}),
  });
  const pieces: Buffer[] = [];
  let status = 0;
  let fields: string[] = [];
  stream.on("error", reject);
  stream.on("response", (head) => {
    status = head[":status"] ?? 0;
    // What ends with its head has no length to tell.
    const length = head["content-length"] === "0" ? /^content-length$/ : accidental;
    fields = linesOf(head, accidental, length);
  });
  stream.on("data", (piece: Buffer) => pieces.push(piece));
  stream.on("trailers", () => fields.push("and trailers"));
  stream.on("close", () => resolve({ status, fields, body: Buffer.concat(pieces) }));
  const [first, ...more] = call.body ?? [];
  // A server may answer before it has read: so that no answer meets a call that has not ended, the whole
  // of it goes out at once, but for those that are about pieces.
  if (more.length === 0) stream.end(first);
  else {
    await once(client, "connect");
    for (const piece of [first, ...more]) {
      stream.write(piece);
      await sleep(2);
    }
    stream.end();
  }
  return promise.finally(() => client.destroy());
}

let calls = 0;

async function ask(name: PlaneName, protocol: Protocol, call: Call) {
  const { port, readLog } = planes.get(name) ?? assert.fail();
  const id = `case-${calls++}`;
  const fields = { ...call.fields, "x-case": id };
  const asking = protocol === "http1" ? overHttp1 : overHttp2;
  const answer = await asking(port, { ...call, fields });
  const until = performance.now() + 30_000;
  const mine = (): readonly string[] => readLog().filter((line) => line.startsWith(`${id} `));
  const isSettled = (): boolean =>
    mine().length > 0 &&
    (server?.seen.get(id) ?? []).every(({ closedWith }) => closedWith !== undefined);
  while (!isSettled() && performance.now() < until) await sleep(5);
  const asked = (server?.seen.get(id) ?? []).map((one) =>
    [`messages=${one.messages}`, ...linesOf(one.fields, accidental, chance)].join(", "),
  );
  return {
    status: answer.status,
    fields: answer.fields,
    body: answer.body.toString("latin1"),
    asked: call.isRefused === true ? [] : asked,
    log: mine().map((line) => line.slice(id.length + 1)),
  };
}

const binary = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" };
const text = {
  "content-type": "application/grpc-web-text+proto",
  accept: "application/grpc-web-text+proto",
  "x-grpc-web": "1",
};
const one = message(10);
const oneText = one.toString("base64");
const origin = { origin: "https://shop.test" };

const questions: Readonly<Record<string, Call>> = {
  "a call in bytes": { path: "/late/0", fields: binary, body: [one] },
  "a call with its length": { path: "/late/0", fields: binary, body: [one], hasLength: true },
  "a call of the short type": {
    path: "/late/0",
    fields: { "content-type": "application/grpc-web" },
    body: [one],
  },
  "a call in base64": { path: "/late/0", fields: text, body: [oneText], hasLength: true },
  "a call in base64 in pieces": {
    path: "/echo",
    fields: text,
    body: [oneText.slice(0, 3), oneText.slice(3, 5), oneText.slice(5, 12), oneText.slice(12)],
  },
  "base64 asked for, bytes sent": {
    path: "/late/0",
    fields: { ...binary, accept: "application/grpc-web-text" },
    body: [one],
  },
  "bytes asked for, base64 sent": {
    path: "/late/0",
    fields: { "content-type": "application/grpc-web-text" },
    body: [oneText],
  },
  "many messages in base64": { path: "/messages/50/1000", fields: text, body: [oneText] },
  "a large message in base64": { path: "/messages/1/200000", fields: text, body: [oneText] },
  "messages without content in base64": { path: "/messages/3/0", fields: text, body: [oneText] },
  "a large message in bytes": { path: "/messages/1/200000", fields: binary, body: [one] },
  "a call that fails at its end": { path: "/late/5", fields: binary, body: [one] },
  "a call that fails at once": { path: "/status/5", fields: binary, body: [one] },
  "a call that fails at once, in base64": { path: "/status/5", fields: text, body: [oneText] },
  "a call that fails between head and end": { path: "/headers/9", fields: text, body: [oneText] },
  "an answer that is text": { path: "/plain/503/20", fields: binary, body: [one] },
  "a good answer that is text": { path: "/plain/200/5", fields: text, body: [oneText] },
  "a long answer that is text": { path: "/plain/404/300", fields: binary, body: [one] },
  "an answer of nothing": { path: "/plain/404/0", fields: binary, body: [one] },
  "an answer of gRPC-Web": { path: "/web", fields: binary, body: [one] },
  "an answer of the proxy's own": { path: "/direct", fields: binary, body: [one] },
  "an answer of the proxy's own without a body": { path: "/nothing", fields: text },
  // The server says nothing: what it said would be on its way, or not, when the call is refused.
  "base64 that is none": { path: "/hang", fields: text, body: ["AAAA!!!!"], isRefused: true },
  "base64 that does not end": {
    path: "/hang",
    fields: text,
    // Of what comes with the end Envoy passes nothing on, and we what is whole of it.
    body: [oneText.slice(0, 4), oneText.slice(4, 6)],
    isRefused: true,
  },
  "base64 with bits that nobody reads": {
    path: "/hang",
    fields: text,
    body: ["AAB="],
    isRefused: true,
  },
  "base64 with padding in its midst": {
    path: "/hang",
    fields: text,
    body: ["A=AA"],
    isRefused: true,
  },
  "base64 with too much padding": { path: "/hang", fields: text, body: ["A==="], isRefused: true },
  "a call that has come before it is looked at": {
    path: "/delayed",
    fields: text,
    body: [oneText],
  },
  "half of base64 that has come before it is looked at": {
    path: "/delayed",
    fields: text,
    body: [oneText.slice(0, 6)],
    isRefused: true,
  },
  "a call from another origin": {
    path: "/late/0",
    fields: { ...binary, ...origin },
    body: [one],
  },
  "a call from an origin that is not known": {
    path: "/late/0",
    fields: { ...binary, origin: "https://other.test" },
    body: [one],
  },
  "a question whether it may call": {
    path: "/late/0",
    method: "OPTIONS",
    fields: {
      ...origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "content-type,x-grpc-web",
    },
  },
  "a type that is not gRPC-Web's": {
    path: "/plain/200/5",
    fields: { "content-type": "application/grpc-web+json" },
    body: [one],
  },
  "deadlines and encodings of the caller": {
    path: "/late/0",
    fields: { ...binary, "grpc-timeout": "10S", "grpc-accept-encoding": "gzip" },
    body: [one],
  },
};

for (const [name, question] of Object.entries(questions)) {
  for (const protocol of ["http1", "http2"] as const) {
    for (const io of ["portable", "epoll"] as const) {
      test(`gRPC-Web: ${name} is as through Envoy (${protocol}, ${io})`, async () => {
        const [heddle, envoy] = await Promise.all([
          ask(io, protocol, question),
          ask("envoy", protocol, question),
        ]);
        assert.deepEqual(heddle, envoy, "actual: Heddle, expected: Envoy");
      });
    }
  }
}
