/**
 * Calls of gRPC to a server that does as it is told: retries by status, messages counted, deadlines passed
 * on, ends and cancellations in both directions. Heddle on either backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import http2 from "node:http2";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { type Plane, type PlaneName, planeNames, startPlane } from "./planes.ts";
import { message, type ScriptedServer, startScriptedServer } from "./scripted-server.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const format = [
  "%REQ(X-CASE)% %RESPONSE_CODE% %RESPONSE_FLAGS% %GRPC_STATUS%",
  "messages=%FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
  "in=%BYTES_RECEIVED% out=%BYTES_SENT%\n",
].join(" ");
const retryOn = "cancelled,deadline-exceeded,internal,resource-exhausted,unavailable";

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
  const route = (name: string, more: object): object => ({
    match: { prefix: "/", headers: [{ name: "x-route", string_match: { exact: name } }] },
    route: { cluster: "server", timeout: "0s", ...more },
  });
  const backOff = { base_interval: "0.001s", max_interval: "0.002s" };
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "grpc",
    internal_address_config: {
      cidr_ranges: [{ address_prefix: "127.0.0.0", prefix_len: 8 }],
    },
    use_remote_address: true,
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
          routes: [
            route("retry", {
              retry_policy: { retry_on: retryOn, num_retries: 3, retry_back_off: backOff },
            }),
            route("unavailable", {
              retry_policy: { retry_on: "unavailable", num_retries: 3, retry_back_off: backOff },
            }),
            route("reset", {
              retry_policy: {
                retry_on: "reset,refused-stream",
                num_retries: 3,
                retry_back_off: backOff,
              },
            }),
            route("deadline", { max_stream_duration: { grpc_timeout_header_max: "0s" } }),
            route("old-deadline", { max_grpc_timeout: "10s" }),
            {
              ...route("delayed", { max_stream_duration: { grpc_timeout_header_max: "0s" } }),
              typed_per_filter_config: {
                "envoy.filters.http.fault": {
                  "@type": `${extensions}.filters.http.fault.v3.HTTPFault`,
                  delay: { fixed_delay: "0.3s", percentage: { numerator: 100 } },
                },
              },
            },
            route("offset", {
              max_stream_duration: {
                grpc_timeout_header_max: "0s",
                grpc_timeout_header_offset: "0.5s",
              },
            }),
            route("duration", { max_stream_duration: { max_stream_duration: "20s" } }),
            route("slow-retry", {
              max_grpc_timeout: "0s",
              retry_policy: {
                retry_on: "unavailable",
                retry_back_off: { base_interval: "0.2s", max_interval: "0.2s" },
              },
            }),
            { match: { prefix: "/" }, route: { cluster: "server", timeout: "0s" } },
          ],
        },
      ],
    },
    http_filters: [
      filter("grpc_stats", "grpc_stats.v3.FilterConfig", { emit_filter_state: true }),
      filter("fault", "fault.v3.HTTPFault"),
      filter("router", "router.v3.Router"),
    ],
  };
  const options = `${extensions}.upstreams.http.v3.HttpProtocolOptions`;
  return {
    static_resources: {
      clusters: [
        {
          name: "server",
          type: "STATIC",
          connect_timeout: "5s",
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": options,
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
          name: "grpc",
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

interface Call {
  readonly path: string;
  readonly fields?: Fields;
  /** Messages that are sent, then the caller ends; 1 unless named. */
  readonly messages?: number;
  /** RST_STREAM once there is a head, or after so many milliseconds. */
  readonly cancels?: "head" | number;
}

interface Outcome {
  readonly answer: readonly string[];
  readonly bytes: number;
  readonly reset: number;
  readonly asked: readonly string[];
  readonly log: readonly string[];
}

const accidental = /^(date|server|x-envoy-upstream-service-time|x-request-id|x-case|:.*)$/;
const chance =
  /^(x-forwarded-proto|x-forwarded-for|x-envoy-internal|x-envoy-expected-rq-timeout-ms)$/;

/** To the second, rounded up: time passes, and Heddle says so. */
function roughly(line: string): string {
  const [, name, ms] = /^(grpc-timeout): (\d+)m$/.exec(line) ?? [];
  return name === undefined ? line : `${name}: ${Math.ceil(Number(ms) / 1000)}S`;
}

function linesOf(fields: http2.IncomingHttpHeaders, ...without: readonly RegExp[]): string[] {
  return Object.entries(fields)
    .filter(([name]) => !without.some((one) => one.test(name)))
    .map(([name, value]) => roughly(`${name}: ${String(value)}`))
    .toSorted();
}

let calls = 0;

async function call(name: PlaneName, { path, fields = {}, messages = 1, cancels }: Call) {
  const { port, readLog } = planes.get(name) ?? assert.fail();
  const id = `case-${calls++}`;
  const client = http2.connect(`http://127.0.0.1:${port}`);
  client.on("error", () => {});
  const stream = client.request({
    ":method": "POST",
    ":path": path,
    "content-type": "application/grpc",
    te: "trailers",
    "x-case": id,
    ...fields,
  });
  const answer: string[] = [];
  let bytes = 0;
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => (bytes += chunk.length));
  stream.on("response", (head) => {
    answer.push(`:status: ${head[":status"]}`, ...linesOf(head, accidental));
    if (cancels === "head") stream.close(8);
  });
  stream.on("trailers", (trailers) => answer.push(...linesOf(trailers)));
  const closed = new Promise((resolve) => stream.once("close", resolve));
  for (let sent = 0; sent < messages; sent++) stream.write(message(10));
  if (cancels === undefined) stream.end();
  if (typeof cancels === "number") setTimeout(() => stream.close(8), cancels);
  await closed;
  const until = performance.now() + 60_000;
  const mine = (): readonly string[] => readLog().filter((line) => line.startsWith(`${id} `));
  const isSettled = (): boolean =>
    mine().length > 0 &&
    (server?.seen.get(id) ?? []).every(({ closedWith }) => closedWith !== undefined);
  while (!isSettled() && performance.now() < until) await sleep(5);
  client.destroy();
  const asked = (server?.seen.get(id) ?? []).map((one) =>
    [
      `messages=${one.messages} ${one.closedWith === 0 ? "ended" : "broken off"}`,
      ...linesOf(one.fields, accidental, chance),
    ].join(", "),
  );
  const log = mine().map((line) => line.slice(id.length + 1));
  const outcome: Outcome = { answer, bytes, reset: stream.rstCode ?? 0, asked, log };
  return outcome;
}

const via = (route: string, more: Fields = {}): Fields => ({ "x-route": route, ...more });

const questions: Readonly<Record<string, Call>> = {
  "a call with its message": { path: "/late/0" },
  "a call that fails at its end": { path: "/late/5" },
  "a call that fails at once": { path: "/status/5" },
  "a call that fails between head and end": { path: "/headers/9" },
  "a stream of 100 messages in both directions": { path: "/echo", messages: 100 },
  ...Object.fromEntries(
    [1, 4, 8, 13, 14].map((status) => [
      `a retry of status ${status}`,
      { path: `/status/${status}`, fields: via("retry", { "x-fail": "2" }) },
    ]),
  ),
  "no retry of status 2": { path: "/status/2", fields: via("retry", { "x-fail": "2" }) },
  "no more retries than are allowed": { path: "/status/14", fields: via("retry") },
  "no retry of another status": { path: "/status/8", fields: via("unavailable") },
  "no retry after a message": { path: "/late/14", fields: via("retry") },
  "no retry after a head": { path: "/headers/14", fields: via("retry") },
  "a retry that the caller asks for": {
    path: "/status/14",
    fields: { "x-fail": "1", "x-envoy-retry-grpc-on": "unavailable", "x-envoy-max-retries": "2" },
  },
  "a retry of a refused stream": { path: "/reset/before/7", fields: via("reset") },
  "a retry of a reset": { path: "/reset/before/2", fields: via("reset") },
  "no retry of a reset after the head": { path: "/reset/head", fields: via("reset") },
  "no retry of a reset after a message": { path: "/reset/message", fields: via("reset") },
  "a server that resets at once": { path: "/reset/before/2" },
  "a server that cancels at once": { path: "/reset/before/8" },
  "a server that resets after its head": { path: "/reset/head" },
  "a server that resets after a message": { path: "/reset/message" },
  "a caller that cancels before an answer": { path: "/hang", cancels: 100 },
  "a caller that cancels after the head": { path: "/echo", cancels: "head" },
  "a deadline that is passed on": { path: "/late/0", fields: { "grpc-timeout": "10S" } },
  "a deadline that the route heeds": {
    path: "/late/0",
    fields: via("deadline", { "grpc-timeout": "10S" }),
  },
  "a deadline that the route heeds, the old way": {
    path: "/late/0",
    fields: via("old-deadline", { "grpc-timeout": "3S" }),
  },
  "a deadline above the route's, the old way": {
    path: "/late/0",
    fields: via("old-deadline", { "grpc-timeout": "3H" }),
  },
  "a deadline of the route alone": { path: "/late/0", fields: via("duration") },
  "a deadline that is told again to the next try": {
    path: "/status/14",
    fields: via("slow-retry", { "x-fail": "1", "grpc-timeout": "10S" }),
  },
  "a deadline that has come": {
    path: "/hang",
    fields: via("deadline", { "grpc-timeout": "100m" }),
  },
  "a deadline that has come, the old way": {
    path: "/hang",
    fields: via("old-deadline", { "grpc-timeout": "100m" }),
  },
};

for (const [name, question] of Object.entries(questions)) {
  for (const io of ["portable", "epoll"] as const) {
    test(`gRPC: ${name} is as through Envoy (${io})`, async () => {
      const [heddle, envoy] = await Promise.all([call(io, question), call("envoy", question)]);
      // Rarely Envoy's server sees a stream that the caller has broken off end without an error.
      const asked = question.cancels === undefined ? envoy.asked : envoy.asked.map(brokenOff);
      assert.deepEqual(heddle, { ...envoy, asked }, "actual: Heddle, expected: Envoy");
    });
  }
}

const brokenOff = (text: string): string => text.replace(/^(messages=\d+) ended/, "$1 broken off");

for (const io of ["portable", "epoll"] as const) {
  test(`gRPC: a server is told what is left of a deadline (${io})`, async () => {
    const id = `case-${calls}`;
    await call(io, { path: "/late/0", fields: via("delayed", { "grpc-timeout": "10S" }) });
    const told = String(server?.seen.get(id)?.[0]?.fields["grpc-timeout"]);
    assert.match(told, /^\d+m$/);
    assert.ok(Number.parseInt(told) <= 9_700, told);
  });
}

/** What a route heeds comes to an end by itself; what it does not is given up after a while. */
const deadlines: readonly (readonly [text: string, route: string])[] = [
  ...["100m", "100000u", "99999999n", "0S", "0n", "1n"].map((text) => [text, "deadline"] as const),
  ...["100", "m", "-1m", "100ms", "1.5S", "1s", "123456789n", "0x1m"].map(
    (text) => [text, "deadline"] as const,
  ),
  ["600m", "offset"],
  ["100m", "offset"],
  ["500m", "offset"],
];

for (const io of ["portable", "epoll"] as const) {
  for (const [text, route] of deadlines) {
    test(`gRPC: the deadline '${text}' is read as by Envoy (${route}, ${io})`, async () => {
      const fields = via(route, { "grpc-timeout": text });
      const question = { path: "/hang", fields, cancels: 2000 };
      const [heddle, envoy] = await Promise.all([call(io, question), call("envoy", question)]);
      const known = ({ answer, reset, log }: Outcome): object => ({ answer, reset, log });
      assert.deepEqual(known(heddle), known(envoy), "actual: Heddle, expected: Envoy");
    });
  }
}
