/**
 * Tunnels to endpoints that speak HTTP/2, and CONNECT that is asked for again: WebSocket as extended CONNECT
 * (RFC 8441), for clients of either protocol. Heddle on either backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import http2 from "node:http2";
import net, { type AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { type PlaneName, planeNames, type Planes, startPlanes } from "../proxy/planes.ts";
import { askForTunnel, type TunnelClient, type TunnelQuestion, until } from "./tunnel-clients.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const everybody: readonly PlaneName[] = [...planeNames, "envoy"];

/** What endpoints saw, and how their ends of tunnels ended. */
const seen: string[] = [];
let open = 0;

const accidental = /^(x-request-id|x-forwarded-proto|x-envoy-.*)$/;

function show(raw: readonly string[]): string {
  const fields: string[] = [];
  for (let at = 0; at < raw.length; at += 2) {
    if (!accidental.test(raw[at] ?? "")) fields.push(`${raw[at]}: ${raw[at + 1]}`);
  }
  return fields.toSorted().join(" | ");
}

/** Says everything back; `bye` makes it end, `reset` break off. */
function echo(stream: http2.ServerHttp2Stream): void {
  stream.respond({ ":status": 200, "x-from": "app" }, { endStream: false });
  stream.on("data", (chunk: Buffer) => {
    const text = chunk.toString("latin1");
    if (text === "reset") return stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    stream.write(text === "large" ? Buffer.alloc(300_000, "x") : chunk);
    if (text === "bye") stream.end();
  });
  stream.on("end", () => stream.end());
}

function onStream(
  stream: http2.ServerHttp2Stream,
  headers: http2.IncomingHttpHeaders,
  ...[, raw]: [flags: number, raw: readonly string[]]
): void {
  seen.push(show(raw));
  open++;
  stream.on("close", () => open--);
  stream.on("error", () => {});
  const to = headers[":path"] ?? headers[":authority"] ?? "";
  if (to.includes("refused")) {
    stream.respond({ ":status": 403, "content-length": 2 });
    return void stream.end("no");
  }
  if (to.includes("created")) {
    stream.respond({ ":status": 201 });
    return void stream.end("other");
  }
  echo(stream);
}

const allowing = http2.createServer({ settings: { enableConnectProtocol: true } });
const denying = http2.createServer();
const sessions = new Set<http2.ServerHttp2Session>();
for (const server of [allowing, denying]) {
  server.on("stream", onStream);
  server.on("session", (session) => {
    sessions.add(session);
    session.on("close", () => sessions.delete(session));
    session.on("error", () => {});
  });
  server.on("sessionError", () => {});
}

/** A proxy of HTTP/1.1 that leads nowhere: it says everything back. */
const connecting = net.createServer({ allowHalfOpen: true }, (socket) => {
  let head = "";
  open++;
  socket.on("close", () => open--);
  socket.on("error", () => {});
  socket.on("data", (chunk: Buffer) => {
    if (head.endsWith("\r\n\r\n")) {
      socket.write(chunk);
      if (chunk.toString("latin1") === "bye") socket.end();
      return;
    }
    head += chunk.toString("latin1");
    if (!head.endsWith("\r\n\r\n")) return;
    const lines = head.slice(0, -4).split("\r\n");
    const fields = lines.slice(1).filter((line) => !accidental.test(line.split(":")[0] ?? ""));
    seen.push([lines[0], ...fields.toSorted()].join(" | "));
    if (head.includes("refused")) {
      socket.end("HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno");
    } else socket.write("HTTP/1.1 200 Connected\r\nx-from: app\r\n\r\n");
  });
  socket.on("end", () => socket.end());
});

const portOf = (server: net.Server): number => (server.address() as AddressInfo).port;
let planes: Planes<"port" | "brief">;

function cluster(name: string, port: number, isHttp2: boolean): string {
  const options = `
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": ${extensions}.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}`;
  return `
  - name: ${name}
    connect_timeout: 5s
    load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}${isHttp2 ? options : ""}`;
}

function listener(name: string, port: number, log: string, manager: string): string {
  return `
  - name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ${name}
          http2_protocol_options: {allow_connect: true}
          upgrade_configs: [{upgrade_type: websocket}, {upgrade_type: CONNECT}]
          ${manager}
          access_log:
          - name: file
            typed_config:
              "@type": ${extensions}.access_loggers.file.v3.FileAccessLog
              path: ${log}
              log_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% %UPSTREAM_PROTOCOL%\\n"}}
          http_filters:
          - {name: router, typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: plain
              domains: ["h1.test:80", "refused.h1.test:80"]
              routes: [{match: {connect_matcher: {}}, route: {cluster: connecting}}]
            - name: all
              domains: ["*"]
              routes:
              - {match: {connect_matcher: {}}, route: {cluster: allowing}}
              - {match: {prefix: /denied}, route: {cluster: denying}}
              - {match: {prefix: /}, route: {cluster: allowing}}`;
}

before(async () => {
  for (const server of [allowing, denying, connecting]) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  planes = await startPlanes(["port", "brief"], (ports, { logFile }) => {
    const clusters = [
      cluster("allowing", portOf(allowing), true),
      cluster("denying", portOf(denying), true),
      cluster("connecting", portOf(connecting), false),
    ];
    return `static_resources:
  clusters:${clusters.join("")}
  listeners:${listener("port", ports.port, logFile, "stream_idle_timeout: 60s")}${listener("brief", ports.brief, logFile, "stream_idle_timeout: 2.5s")}
`;
  });
});

after(async () => {
  await planes?.close();
  for (const session of sessions) session.destroy();
  for (const server of [allowing, denying, connecting]) server.close();
});

/**
 * The end of a server's connection is the end of the tunnel (RFC 9110 section 9.3.6); Envoy calls it a reset,
 * as of an answer that is cut short.
 */
const serversEnd = {
  theirs: "200 UC upstream_reset_after_response_started{connection_termination}",
  ours: "200 - via_upstream",
};

/** Runs it through each data plane, for clients of either protocol; all come to the same. */
function compare(
  title: string,
  question: TunnelQuestion,
  run: (client: TunnelClient) => Promise<readonly unknown[]>,
): void {
  for (const protocol of ["http1", "http2"] as const) {
    test(`${protocol}: ${title}`, async () => {
      const outcomes = new Map<PlaneName, readonly unknown[]>();
      for (const plane of everybody) {
        seen.length = 0;
        const logged = planes.log(plane).length;
        const client = await askForTunnel(protocol, planes.port(plane, "port"), question);
        const outcome = await run(client);
        client.close();
        await until(() => open === 0, "tunnels close at the endpoint");
        await until(() => planes.log(plane).length > logged, "a line of the log");
        outcomes.set(plane, [...outcome, ...seen, ...planes.log(plane).slice(logged)]);
      }
      const { theirs, ours } = serversEnd;
      const expected = outcomes.get("envoy")?.map((one) => String(one).replace(theirs, ours));
      for (const plane of planeNames) assert.deepEqual(outcomes.get(plane), expected, plane);
    });
  }
}

for (const question of [
  { kind: "websocket", to: "/chat" },
  { kind: "connect", to: "shop.test:80" },
  { kind: "connect", to: "h1.test:80" },
] as const) {
  const name = `${question.kind} ${question.to}`;
  compare(`${name}: bytes pass, until the endpoint ends it`, question, async (client) => {
    const status = await client.status();
    client.say("one");
    await client.hears("one");
    client.say("bye");
    await client.hears("bye");
    return [status, ...client.fields, client.heard];
  });
  compare(`${name}: a client that leaves ends it`, question, async (client) => {
    const status = await client.status();
    client.say("one");
    await client.hears("one");
    client.close();
    return [status];
  });
}

for (const to of ["/chat", "shop.test:80"] as const) {
  const kind = to === "/chat" ? "websocket" : "connect";
  compare(`${kind} ${to}: more than a window passes`, { kind, to }, async (client) => {
    await client.status();
    client.say("large");
    await until(() => client.heard.length >= 65_535, "a window of it");
    return [];
  });
  compare(`${kind} ${to}: an endpoint breaks it off`, { kind, to }, async (client) => {
    await client.status();
    client.say("reset");
    return [await client.ends()];
  });
}

for (const question of [
  { kind: "websocket", to: "/refused" },
  { kind: "websocket", to: "/created" },
  { kind: "connect", to: "refused.test:80" },
  { kind: "connect", to: "refused.h1.test:80" },
] as const) {
  compare(`${question.kind} ${question.to}: an endpoint refuses`, question, async (client) => {
    const status = await client.status();
    await client.hears(question.to === "/created" ? "other" : "no");
    return [status, ...client.fields, await client.ends()];
  });
}

compare(
  "an endpoint that allows no extended CONNECT",
  { kind: "websocket", to: "/denied" },
  async (client) => [await client.status(), ...client.fields],
);

/** Talks for longer than the idle time in all, and then is silent: how it ended. */
async function talk(plane: PlaneName, protocol: "http1" | "http2", to: string): Promise<string> {
  const kind = to.startsWith("/") ? "websocket" : "connect";
  const client = await askForTunnel(protocol, planes.port(plane, "brief"), { kind, to });
  await client.status();
  for (let turn = 0; turn < 6; turn++) {
    client.say(`turn ${turn}.`);
    await client.hears(`turn ${turn}.`);
    await sleep(500);
  }
  const end = await client.ends();
  client.close();
  return `${protocol} ${to} ${end}`;
}

test("silence ends tunnels after the stream's idle time, and talk does not", async () => {
  const outcomes = await Promise.all(
    everybody.map(async (plane) => {
      const logged = planes.log(plane).length;
      const ends = await Promise.all([
        talk(plane, "http1", "/chat"),
        talk(plane, "http2", "/chat"),
        talk(plane, "http1", "shop.test:80"),
        talk(plane, "http2", "shop.test:80"),
      ]);
      await until(() => planes.log(plane).length === logged + ends.length, "lines of the log");
      return [...ends, ...planes.log(plane).slice(logged).toSorted()];
    }),
  );
  for (const outcome of outcomes) assert.deepEqual(outcome, outcomes.at(-1));
});
