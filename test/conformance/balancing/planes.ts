/** One bootstrap text under Heddle's data plane, on both I/O backends, and under Envoy. */
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { load } from "js-yaml";

import { systemClock } from "../../../src/base/clock.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { threads } from "../../support/workers.ts";

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

export interface Plane {
  readonly name: string;
  readonly isEnvoy: boolean;
  readonly port: number;
  ask(
    path: string,
    headers?: http.OutgoingHttpHeaders,
    method?: string,
    body?: string,
  ): Promise<Answer>;
  /** Of the admin interface. */
  admin(path: string): Promise<string>;
  close(): Promise<void>;
}

export interface Place {
  readonly port: number;
  readonly adminPort: number;
}

export interface PlaneOptions {
  readonly workers?: number;
  /** What Heddle's write to a file. */
  readonly onLines?: ((path: string, lines: string) => void) | undefined;
}

/** Envoy is the last of them; `workers`: Heddle's also with two threads that serve. */
export async function startPlanes(
  textFor: (place: Place) => string,
  { workers = 0, onLines }: PlaneOptions = {},
): Promise<readonly Plane[]> {
  const binary = findEnvoy();
  if (binary === undefined) throw new Error("no Envoy: npm test installs one, or set HEDDLE_ENVOY");
  const starting = await Promise.allSettled([
    startHeddle("portable", textFor, { onLines }),
    startHeddle("epoll", textFor, { onLines }),
    ...(workers === 0 ? [] : [startHeddle("epoll", textFor, { workers, onLines })]),
    startReference(binary, textFor),
  ]);
  const planes = starting.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
  for (const each of starting) {
    if (each.status === "fulfilled") continue;
    await Promise.all(planes.map((plane) => plane.close()));
    throw each.reason;
  }
  return planes;
}

async function startHeddle(
  io: "portable" | "epoll",
  textFor: (place: Place) => string,
  { workers = 0, onLines }: PlaneOptions,
): Promise<Plane> {
  const port = await freePort();
  const { feed, secrets, nodeId } = parseBootstrap({
    name: "bootstrap.yaml",
    text: textFor({ port, adminPort: await freePort() }),
    parseYaml: (yaml) => load(yaml),
    readFile: () => Buffer.alloc(0),
  });
  const clock = systemClock;
  const proxy = startProxy({
    feed,
    secrets,
    clock,
    log: createLog({ level: "error", format: "text", clock, sink: (line) => console.error(line) }),
    ...threads(workers),
    random: Math.random,
    peers: noPeers,
    openLog: (path) => (memory, length) => onLines?.(path, memory.toString("utf8", 0, length)),
    io,
    nodeId,
    version: "test",
  });
  if (proxy.refusals().length > 0) {
    await proxy.close();
    throw new Error(proxy.refusals().join("\n"));
  }
  await proxy.ready;
  const asking = askerOf(port);
  return {
    name: workers === 0 ? `Heddle, ${io}` : `Heddle, ${workers} workers`,
    isEnvoy: false,
    port,
    ask: asking.ask,
    admin: async (path) => {
      const url = new URL(path, "http://admin");
      const { body } = await proxy.admin({
        method: "GET",
        path: url.pathname,
        query: url.searchParams,
      });
      return body;
    },
    close: async () => {
      asking.close();
      await proxy.close();
    },
  };
}

async function startReference(binary: string, textFor: (place: Place) => string): Promise<Plane> {
  const place = { port: await freePort(), adminPort: await freePort() };
  const envoy = startEnvoy(binary, load(textFor(place)));
  const asking = askerOf(place.port);
  const adminAsking = askerOf(place.adminPort);
  const deadline = Date.now() + 60_000;
  for (;;) {
    const isUp = await asking.ask("/up").then(
      () => true,
      () => false,
    );
    if (isUp) break;
    if (Date.now() > deadline || envoy.log().includes("[critical]"))
      throw new Error(`Envoy does not answer:\n${envoy.log()}`);
    await sleep(50);
  }
  return {
    name: "Envoy",
    isEnvoy: true,
    port: place.port,
    ask: asking.ask,
    admin: async (path) => (await adminAsking.ask(path)).body,
    close: async () => {
      asking.close();
      adminAsking.close();
      await envoy.stop();
    },
  };
}

function askerOf(port: number): { ask: Plane["ask"]; close: () => void } {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  const ask: Plane["ask"] = (path, headers = {}, method = "GET", body = "") =>
    new Promise((resolve, reject) => {
      const options = { host: "127.0.0.1", port, path, headers, method, agent };
      const request = http.request(options, (response) => {
        let text = "";
        response.setEncoding("latin1");
        response.on("data", (chunk: string) => (text += chunk));
        response.on("error", reject);
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
        );
      });
      request.on("error", reject);
      request.end(body);
    });
  return { ask, close: () => agent.destroy() };
}

const extensions = "type.googleapis.com/envoy.extensions";

/** `routes` and `clusters` are YAML, of flow mappings, one in a line. */
export function bootstrapOf(
  { port, adminPort }: Place,
  parts: {
    readonly routes: readonly string[];
    readonly clusters: readonly string[];
    readonly secrets?: readonly string[];
    /** Of the connection manager, one in a line. */
    readonly manager?: readonly string[];
    /** HTTP filters before the router. */
    readonly filters?: readonly string[];
  },
): string {
  return `
admin: {address: {socket_address: {address: 127.0.0.1, port_value: ${adminPort}}}}
static_resources:
  secrets: [${(parts.secrets ?? []).join(", ")}]
  clusters:
${parts.clusters.map((cluster) => `  - ${cluster}\n`).join("")}
  listeners:
  - name: test
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
${(parts.manager ?? []).map((line) => `          ${line}\n`).join("")}          http_filters:
${(parts.filters ?? []).map((filter) => `          - ${filter}\n`).join("")}          - name: envoy.filters.http.router
            typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}
          route_config:
            name: test
            validate_clusters: false
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
${parts.routes.map((route) => `              - ${route}\n`).join("")}
              - {match: {path: /up}, direct_response: {status: 200}}
`;
}

/** Servers on addresses of loopback that say who they are; all on one port, so addresses sort alike. */
export class Servers {
  readonly addresses: readonly string[];
  readonly #servers: readonly http.Server[];
  port = 0;

  constructor(
    count: number,
    answer: (
      index: number,
      request: http.IncomingMessage,
      response: http.ServerResponse,
    ) => void = named,
  ) {
    this.addresses = Array.from({ length: count }, (_, i) => `127.0.7.${i + 1}`);
    this.#servers = this.addresses.map((_, i) =>
      http.createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
        request.resume();
        answer(i, request, response);
      }),
    );
  }

  async open(): Promise<void> {
    this.port = await freePort();
    await Promise.all(
      this.#servers.map(
        (server, i) =>
          new Promise<void>((resolve, reject) => {
            server.once("error", reject);
            server.listen(this.port, this.addresses[i], resolve);
          }),
      ),
    );
  }

  /** The flow mapping of one endpoint; `more` are fields of the LbEndpoint. */
  endpoint(index: number, more = "", inner = ""): string {
    const address = `address: {socket_address: {address: ${this.addresses[index] ?? "127.0.0.1"}, port_value: ${this.port}}}`;
    return `{endpoint: {${address}${inner}}${more}}`;
  }

  close(): void {
    for (const server of this.#servers) {
      server.closeAllConnections();
      server.close();
    }
  }
}

function named(index: number, _request: http.IncomingMessage, response: http.ServerResponse): void {
  response.end(String(index));
}
