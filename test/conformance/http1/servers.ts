/** The two proxies that are asked, and the application behind them, on loopback. */
import net from "node:net";
import http from "node:http";
import type { AddressInfo } from "node:net";

import { systemClock } from "../../../src/base/clock.ts";
import { type IoChoice, openIo } from "../../../src/net/io-backend.ts";
import type { ProxyContext, UpstreamCluster } from "../../../src/proxy/context.ts";
import { createHttpConnectionManager } from "../../../src/proxy/http.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import type { HttpConnectionManager } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import type { DeepPartial } from "../../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import { silentCounters } from "../../support/silent-counters.ts";
import { silentLog } from "../../support/silent-log.ts";
import { managerOf, routesToApp } from "../../support/http-harness.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import type { SeenRequest } from "./probes.ts";

export interface Asked {
  readonly port: number;
  close(): Promise<void>;
}

export interface Application extends Asked {
  /** Requests since the last call. */
  takeSeen(): readonly SeenRequest[];
}

/** Answers 200 to whatever Node can read, leniently: a smuggled request would be seen. */
export async function startApplication(): Promise<Application> {
  let seen: SeenRequest[] = [];
  const options = { insecureHTTPParser: true, keepAliveTimeout: 60_000 };
  const server = http.createServer(options, (request, response) => {
    const path = request.url ?? "";
    seen.push({ path, fields: fieldsOf(request.rawHeaders) });
    request.resume();
    request.on("end", () => answer(request, response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    takeSeen: () => {
      const taken = seen;
      seen = [];
      return taken;
    },
    port: portOf(server),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function fieldsOf(raw: readonly string[]): SeenRequest["fields"] {
  const fields: [string, string][] = [];
  for (let i = 0; i < raw.length; i += 2) {
    fields.push([(raw[i] ?? "").toLowerCase(), raw[i + 1] ?? ""]);
  }
  return fields;
}

function answer(request: http.IncomingMessage, response: http.ServerResponse): void {
  const { url, method } = request;
  if (url === "/no-content") response.writeHead(204).end();
  else if (url === "/versioned") answerVersioned(request, response);
  else if (url === "/allow") {
    const isKnown = method === "GET" || method === "HEAD" || method === "OPTIONS";
    response.writeHead(isKnown ? 200 : 405, { allow: "GET, HEAD" }).end();
  } else response.writeHead(200, { "content-type": "text/plain" }).end("ok");
}

const modified = "Mon, 01 Jan 2024 00:00:00 GMT";

/** Conditional requests as RFC 9110 section 13 has them: a tag decides before a date. */
function answerVersioned(request: http.IncomingMessage, response: http.ServerResponse): void {
  const match = request.headers["if-none-match"];
  const since = Date.parse(request.headers["if-modified-since"] ?? "");
  const isSame =
    match === undefined
      ? since >= Date.parse(modified)
      : ["*", '"v1"', 'W/"v1"'].includes(match.trim());
  const head = { etag: '"v1"', "last-modified": modified };
  if (isSame) response.writeHead(304, head).end();
  else response.writeHead(200, head).end("ok");
}

function portOf(server: net.Server): number {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return address.port;
}

const always = (): boolean => true;
const nothing = (): void => {};

export interface HeddleOptions {
  readonly manager?: DeepPartial<HttpConnectionManager>;
  readonly connectionsMax?: number;
  readonly connectTimeoutMs?: number;
}

export interface Heddle extends Asked {
  /** Its series, as Prometheus would read them. */
  readonly series: () => string;
  /** Connections that were one too many. */
  readonly overflows: () => number;
}

export async function startHeddle(
  application: number,
  io: IoChoice,
  { manager = {}, connectionsMax = 1000, connectTimeoutMs = 1000 }: HeddleOptions = {},
): Promise<Heddle> {
  const metrics = createMetricRegistry();
  let overflows = 0;
  const open = new Set<{ destroy(): void }>();
  const endpoint = {
    address: { address: "127.0.0.1", port: application },
    hostname: "",
    metadata: {},
    tls: undefined,
    active: 0,
    report: nothing,
  };
  const cluster: UpstreamCluster = {
    name: "app",
    statName: "app",
    connectTimeoutMs,
    metadata: undefined,
    maxRequestsPerConnection: 0,
    idleTimeoutMs: 60_000,
    pick: () => endpoint,
    limits: {
      tryConnection: always,
      releaseConnection: nothing,
      tryPending: always,
      releasePending: nothing,
      tryRequest: always,
      releaseRequest: nothing,
      tryRetry: always,
      releaseRetry: nothing,
    },
    counters: silentCounters,
  };
  const backend = openIo(io, systemClock, silentLog);
  const dialler = backend.createDialler({ log: silentLog });
  const context: ProxyContext = {
    clock: systemClock,
    log: silentLog,
    metrics,
    random: Math.random,
    clusters: { get: () => cluster },
    routes: { get: () => undefined },
    dialler: {
      dial: (options) => {
        const channel = dialler.dial(options);
        open.add(channel);
        return channel;
      },
    },
    sinkFor: () => ({ onEnd: nothing }),
  };
  const factory = createHttpConnectionManager(
    managerOf({ manager, routes: routesToApp() }),
    context,
    {
      direction: "inbound",
    },
  );
  const bound = await backend.listen({
    on: { kind: "address", address: "127.0.0.1", port: 0 },
    connectionsMax,
    readsOriginalDestination: false,
    log: silentLog,
    onOverflow: () => void overflows++,
    // A proxy that was told of every channel and never of its end would keep them all.
    onClosed: (channel) => open.delete(channel),
    onChannel: (channel) => {
      open.add(channel);
      factory.accept(
        channel,
        {
          sourceAddress: channel.remote.address,
          sourcePort: channel.remote.port,
          destinationAddress: channel.local.address,
          destinationPort: channel.local.port,
          sni: undefined,
          alpn: undefined,
          isTls: false,
          peerUriSans: [],
        },
        undefined,
        { refusal: () => "gone", move: () => "gone" },
      );
    },
  });
  return {
    port: bound.address.port,
    series: () => metrics.expose(),
    overflows: () => overflows,
    close: async () => {
      for (const channel of open) channel.destroy();
      await bound.close();
    },
  };
}

/** Undefined when there is no Envoy on this machine. */
export async function startEnvoyFor(application: number): Promise<Asked | undefined> {
  const binary = findEnvoy();
  if (binary === undefined) return undefined;
  const port = await freePort();
  const running = startEnvoy(binary, envoyBootstrap(port, application));
  await waitForPort(port);
  return { port, close: () => running.stop() };
}

async function waitForPort(port: number): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const isOpen = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => setTimeout(() => resolve(false), 100));
    });
    if (isOpen) return;
  }
  throw new Error(`nothing listens on port ${port}`);
}

function envoyBootstrap(port: number, application: number): unknown {
  const at = (number: number): unknown => ({
    socket_address: { address: "127.0.0.1", port_value: number },
  });
  const types = "type.googleapis.com/envoy.extensions.filters";
  return {
    static_resources: {
      listeners: [
        {
          name: "in",
          address: at(port),
          filter_chains: [
            {
              filters: [
                {
                  name: "http",
                  typed_config: {
                    "@type": `${types}.network.http_connection_manager.v3.HttpConnectionManager`,
                    stat_prefix: "in",
                    route_config: {
                      virtual_hosts: [
                        {
                          name: "all",
                          domains: ["*"],
                          routes: [{ match: { prefix: "/" }, route: { cluster: "app" } }],
                        },
                      ],
                    },
                    http_filters: [
                      {
                        name: "router",
                        typed_config: { "@type": `${types}.http.router.v3.Router` },
                      },
                    ],
                  },
                },
              ],
            },
          ],
        },
      ],
      clusters: [
        {
          name: "app",
          type: "STATIC",
          load_assignment: {
            cluster_name: "app",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: at(application) } }] }],
          },
        },
      ],
    },
  };
}

export interface AskOptions {
  /** Final answers that are waited for. */
  readonly answers?: number;
  readonly waitMs?: number;
  /** What may still come is waited for so long. */
  readonly settleMs?: number;
  readonly isEnough?: (text: string) => boolean;
}

export interface Answered {
  /** Of the final answers, in their order. */
  readonly statuses: readonly number[];
  readonly text: string;
  readonly isClosed: boolean;
}

/**
 * Sends bytes on a connection of its own and waits for as many final answers, the end of the
 * connection, or the time.
 */
export function ask(
  port: number,
  bytes: string,
  { answers = 1, waitMs = 1500, settleMs = 15, isEnough = () => true }: AskOptions = {},
): Promise<Answered> {
  return new Promise((resolve) => {
    let received = "";
    let isClosed = false;
    const socket = net.connect(port, "127.0.0.1");
    const finish = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ statuses: finalStatuses(received), text: received, isClosed });
    };
    const timer = setTimeout(finish, waitMs);
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      // What belongs to the last answer, and the end of the connection, come at once or not at all.
      if (finalStatuses(received).length >= answers && isEnough(received)) {
        setTimeout(finish, settleMs);
      }
    });
    socket.on("end", () => {
      isClosed = true;
      finish();
    });
    socket.on("close", finish);
    socket.on("error", () => (isClosed = true));
    socket.write(Buffer.from(bytes, "latin1"));
  });
}

function finalStatuses(text: string): number[] {
  const statuses = [...text.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map((match) => Number(match[1]));
  return statuses.filter((status) => status >= 200);
}
