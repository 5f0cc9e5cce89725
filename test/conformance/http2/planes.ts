/** One bootstrap with HTTP/2 listeners, under Heddle on either backend and under Envoy. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { load } from "js-yaml";

import type { IoChoice } from "../../../src/net/io-backend.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";

/** `auto` and `strict` end connections for malformed requests; `kind` resets streams alone. */
export const doors = ["auto", "strict", "kind"] as const;
export type Door = (typeof doors)[number];
type Ports = { readonly [name in Door]: number };

export interface Plane {
  readonly name: string;
  readonly ports: Ports;
  readonly readLog: () => readonly string[];
  readonly close: () => Promise<void>;
}

export interface Application {
  readonly port: number;
  /** Requests since the last call: first line, then fields but those that differ by chance, then the body. */
  takeSeen(): readonly (readonly string[])[];
  /** A request has come since `takeSeen()`. */
  untilSeen(): Promise<void>;
  close(): void;
}

const accidental = /^(x-request-id|x-envoy-expected-rq-timeout-ms|x-forwarded-proto)$/;

export async function startApplication(): Promise<Application> {
  const seen: string[][] = [];
  let onSeen = (): void => {};
  const server = http.createServer({ insecureHTTPParser: true }, (request, response) => {
    const entry = [`${request.method} ${request.url}`, ...fieldsOf(request)];
    seen.push(entry);
    onSeen();
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString("latin1")));
    request.on("error", () => {});
    request.on("end", () => {
      if (body !== "") entry.push(body.length > 100 ? String(body.length) : body);
      answer(request, response);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  return {
    port: address !== null && typeof address !== "string" ? address.port : 0,
    takeSeen: () => seen.splice(0),
    untilSeen: () =>
      new Promise((resolve) => {
        onSeen = resolve;
        if (seen.length > 0) resolve();
      }),
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
}

function fieldsOf({ rawHeaders }: http.IncomingMessage): readonly string[] {
  const fields: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = (rawHeaders[at] ?? "").toLowerCase();
    if (!accidental.test(name)) fields.push(`${name}: ${rawHeaders[at + 1]}`);
  }
  return fields.toSorted();
}

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  switch (request.url ?? "") {
    case "/large":
      return void response.end(Buffer.alloc(300_000, "x"));
    case "/spec":
      return void response.end("long enough to be sent in pieces");
    case "/chunked":
      response.write("one");
      return void response.end("two");
    case "/no-content":
      return void response.writeHead(204).end();
    case "/hop":
      return void response
        .writeHead(200, { connection: "x-hop", "x-hop": "1", "keep-alive": "timeout=5" })
        .end("hop");
    case "/break":
      response.writeHead(200, { "content-length": "10" }).write("half");
      return void setTimeout(() => request.socket.destroy(), 20);
    case "/never":
      return;
    case "/slow":
      return void setTimeout(() => response.end("slow"), 300);
    default:
      return void response.end("ok");
  }
}

const extensions = "type.googleapis.com/envoy.extensions";
const format =
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %PROTOCOL% in=%BYTES_RECEIVED% out=%BYTES_SENT% %REQ(:METHOD)% %REQ(:PATH)% %REQ(:AUTHORITY)%\\n";

function bootstrap(ports: Ports, logFile: string, applicationPort: number): string {
  const address = `{socket_address: {address: 127.0.0.1, port_value: ${applicationPort}}}`;
  const endpoints = `[{lb_endpoints: [{endpoint: {address: ${address}}}]}]`;
  const options: Readonly<Record<Door, string>> = {
    auto: "http_protocol_options: {}",
    strict: "codec_type: HTTP2",
    kind: `codec_type: HTTP2
          common_http_protocol_options: {max_headers_count: 20}
          max_request_headers_kb: 8
          http2_protocol_options: {override_stream_error_on_invalid_http_message: true, max_concurrent_streams: 10}`,
  };
  const listeners = doors.map(
    (door) => `
  - name: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ${door}
          delayed_close_timeout: 0.1s
          ${options[door]}
          access_log:
          - name: file
            typed_config:
              "@type": ${extensions}.access_loggers.file.v3.FileAccessLog
              path: ${logFile}
              log_format: {text_format_source: {inline_string: "${format}"}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}
          route_config:
            name: ${door}
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - {match: {path: /direct}, direct_response: {status: 418, body: {inline_string: teapot}}}
              - {match: {prefix: /}, route: {cluster: app}}`,
  );
  return `static_resources:
  clusters: [{name: app, connect_timeout: 10s, type: STATIC, load_assignment: {cluster_name: app, endpoints: ${endpoints}}}]
  listeners:${listeners.join("")}
`;
}

async function freePorts(): Promise<Ports> {
  return { auto: await freePort(), strict: await freePort(), kind: await freePort() };
}

export async function runHeddle(io: IoChoice, applicationPort: number): Promise<Plane> {
  const ports = await freePorts();
  const lines: string[] = [];
  const config = load(bootstrap(ports, "access.log", applicationPort));
  const { close } = await startProxyInProcess(config, io, (text) => void lines.push(text));
  const readLog = (): readonly string[] =>
    lines.flatMap((line) => line.split("\n")).filter((line) => line !== "");
  return { name: io, ports, readLog, close };
}

export async function runEnvoy(applicationPort: number): Promise<Plane> {
  const binary = findEnvoy();
  if (binary === undefined) throw new Error("no Envoy at hand: npm test installs one");
  const ports = await freePorts();
  const folder = mkdtempSync(join(tmpdir(), "heddle-http2-"));
  const logFile = join(folder, "access.log");
  const text = bootstrap(ports, logFile, applicationPort);
  const envoy = startEnvoy(binary, load(text), ["--file-flush-interval-msec", "10"]);
  const close = async (): Promise<void> => {
    await envoy.stop();
    rmSync(folder, { recursive: true });
  };
  await untilOpen(ports.kind, envoy.log);
  const readLog = (): readonly string[] => {
    const lines = readFileSync(logFile, "utf8").split("\n");
    return lines.filter((line) => line !== "");
  };
  return { name: "envoy", ports, readLog, close };
}

export async function untilOpen(port: number, log: () => string): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = net.connect({ host: "127.0.0.1", port });
      socket.once("connect", () => resolve(socket.destroy() !== undefined));
      socket.once("error", () => resolve(false));
    });
    if (isOpen) return;
    if (Date.now() > deadline) throw new Error(`Envoy does not listen:\n${log()}`);
    await sleep(50);
  }
}
