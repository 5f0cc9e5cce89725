/** The two proxies that are asked, and the application behind them, on loopback. */
import net from "node:net";
import http from "node:http";
import type { AddressInfo } from "node:net";

import { systemClock } from "../../../src/base/clock.ts";
import { type IoChoice, openIo } from "../../../src/net/io-backend.ts";
import type { ProxyContext, UpstreamCluster } from "../../../src/proxy/context.ts";
import { createHttpConnectionManager } from "../../../src/proxy/http.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import { silentLog } from "../../support/silent-log.ts";
import { managerOf, routesToApp } from "../../support/http-harness.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";

export interface Asked {
  readonly port: number;
  close(): Promise<void>;
}

export interface Application extends Asked {
  /** Paths of the requests it has seen. */
  readonly paths: string[];
}

/** Answers 200 to whatever Node can read, leniently: a smuggled request would be seen. */
export async function startApplication(): Promise<Application> {
  const paths: string[] = [];
  const server = http.createServer({ insecureHTTPParser: true }, (request, response) => {
    paths.push(request.url ?? "");
    request.resume();
    request.on("end", () => response.end("ok"));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    paths,
    port: portOf(server),
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

function portOf(server: net.Server): number {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return address.port;
}

const always = (): boolean => true;
const nothing = (): void => {};

export async function startHeddle(application: number, io: IoChoice): Promise<Asked> {
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
    connectTimeoutMs: 1000,
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
    counters: {
      onConnectionOpened: nothing,
      onConnectionClosed: nothing,
      onConnectFailure: nothing,
      onRequest: nothing,
      onResponse: nothing,
      onRetry: nothing,
      onRetrySuccess: nothing,
      onRetryOverflow: nothing,
      onTimeout: nothing,
    },
  };
  const backend = openIo(io, systemClock, silentLog);
  const dialler = backend.createDialler({ log: silentLog });
  const context: ProxyContext = {
    clock: systemClock,
    log: silentLog,
    metrics: createMetricRegistry(),
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
  const factory = createHttpConnectionManager(managerOf({ routes: routesToApp() }), context, {
    direction: "inbound",
  });
  const bound = await backend.listen({
    on: { kind: "address", address: "127.0.0.1", port: 0 },
    connectionsMax: 1000,
    readsOriginalDestination: false,
    log: silentLog,
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

/** Sends bytes on a connection of its own; the status of the first final answer, or `closed`. */
export function ask(port: number, bytes: string, waitMs = 1500): Promise<number | "closed"> {
  return new Promise((resolve) => {
    let received = "";
    const socket = net.connect(port, "127.0.0.1");
    const finish = (): void => {
      clearTimeout(timer);
      socket.destroy();
      const statuses = [...received.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map((match) =>
        Number(match[1]),
      );
      resolve(statuses.find((status) => status >= 200) ?? "closed");
    };
    const timer = setTimeout(finish, waitMs);
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      if (/HTTP\/1\.[01] [2-5]\d\d[^]*\r\n\r\n/.test(received)) setTimeout(finish, 5);
    });
    socket.on("close", finish);
    socket.on("error", () => {});
    socket.write(Buffer.from(bytes, "latin1"));
  });
}
