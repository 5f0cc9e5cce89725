/**
 * Whose milliseconds a request took, measured: a backend that waits 50 ms, and a fault that delays by
 * 20 ms or an authorization service that takes as long, are told apart by the access log, under
 * Heddle's data plane on both backends. The best of several requests: another process may hold any one
 * of them up.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";

import { type Place, runHeddle, type RunningData } from "./scenario-proxies.ts";

const backendMs = 50;
const delayMs = 20;
const requests = 9;
const extensions = "type.googleapis.com/envoy.extensions";

const servers: net.Server[] = [];
const heddles = new Map<string, RunningData>();
/** What the backend and the authorization service really waited, by request. */
const waited: number[] = [];
const authorizing: number[] = [];

/** Answers every request after so many milliseconds; its port. */
async function serve(delay: number, took: number[]): Promise<number> {
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {
      const from = performance.now();
      setTimeout(() => {
        took.push(performance.now() - from);
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
      }, delay);
    });
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

before(async () => {
  const port = await serve(backendMs, waited);
  const texts = bootstrap(port, await serve(delayMs, authorizing));
  const application = { port, takeHeads: () => [], close: () => {} };
  for (const io of ["portable", "epoll"] as const) {
    heddles.set(io, await runHeddle(texts, application, { io, workers: 0 }));
  }
});

after(async () => {
  for (const heddle of heddles.values()) await heddle.close();
  for (const server of servers) server.close();
});

function bootstrap(port: number, authz: number): (place: Place) => string {
  const format = {
    filters: "%HEDDLE_DURATION(filters:us)%",
    authorization: "%HEDDLE_DURATION(authorization:us)%",
    backend: "%HEDDLE_DURATION(first_byte:us)%",
    envoy: "%COMMON_DURATION(US_TX_END:US_RX_BEG:us)%",
    overhead: "%HEDDLE_DURATION(overhead:us)%",
    whole: "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
  };
  const cluster = (name: string, portValue: number): object => {
    const address = { socket_address: { address: "127.0.0.1", port_value: portValue } };
    const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
    return { name, type: "STATIC", load_assignment: { cluster_name: name, endpoints } };
  };
  const fault = (delay: object): object => ({
    "@type": `${extensions}.filters.http.fault.v3.HTTPFault`,
    delay,
  });
  const extAuthz = {
    "@type": `${extensions}.filters.http.ext_authz.v3.ExtAuthz`,
    http_service: { server_uri: { uri: "http://authz", cluster: "authz", timeout: "5s" } },
  };
  const delay = { fixed_delay: `${delayMs / 1000}s`, percentage: { numerator: 100 } };
  return ({ ports, logFile }) => {
    const manager = (filter: object): object => ({
      "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "a",
      access_log: [
        {
          name: "file",
          typed_config: {
            "@type": `${extensions}.access_loggers.file.v3.FileAccessLog`,
            path: logFile,
            log_format: { json_format: format },
          },
        },
      ],
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
        { name: "waits", typed_config: filter },
        {
          name: "envoy.filters.http.router",
          typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
        },
      ],
    });
    const listener = (name: string, portValue: number, filter: object): object => ({
      name,
      address: { socket_address: { address: "127.0.0.1", port_value: portValue } },
      filter_chains: [{ filters: [{ name: "http", typed_config: manager(filter) }] }],
    });
    return JSON.stringify({
      static_resources: {
        clusters: [cluster("app", port), cluster("authz", authz)],
        listeners: [
          listener("mesh", ports.mesh, fault(delay)),
          listener("edge", ports.edge, extAuthz),
        ],
      },
    });
  };
}

/**
 * By how much two times differ in the request that nothing held up: another process may take the
 * processor at any moment between two looks at the clock, and then one of the two has it.
 */
function leastBetween(
  entries: readonly Record<string, number>[],
  read: (entry: Record<string, number>, i: number) => number,
): number {
  return Math.min(...entries.map((entry, i) => Math.abs(read(entry, i))));
}

/** Milliseconds of each request, by field. */
async function ask(io: string, door: "mesh" | "edge"): Promise<readonly Record<string, number>[]> {
  const heddle = heddles.get(io);
  assert.ok(heddle !== undefined);
  waited.length = 0;
  authorizing.length = 0;
  const entries: Record<string, number>[] = [];
  for (let i = 0; i < requests; i++) {
    const { log } = await heddle.ask(door, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", undefined);
    const entry: Record<string, number> = JSON.parse(log[0] ?? "{}");
    entries.push(Object.fromEntries(Object.entries(entry).map(([name, us]) => [name, us / 1000])));
  }
  return entries;
}

/** A field of an entry; not a number where it is not there. */
function ms(entry: Record<string, number>, name: string): number {
  return entry[name] ?? Number.NaN;
}

for (const io of ["portable", "epoll"] as const) {
  test(`a backend's and a filter's time are told apart within 2 ms (${io})`, async () => {
    const entries = await ask(io, "mesh");
    const shown = JSON.stringify({ entries, waited });
    const beyond = leastBetween(entries, (entry, i) => ms(entry, "backend") - (waited[i] ?? 0));
    assert.ok(beyond < 2, shown);
    const apart = leastBetween(entries, (entry) => ms(entry, "envoy") - ms(entry, "backend"));
    assert.ok(apart < 2, shown);
    // A delay ends with a tick of the wheel: what it really took is what nobody else did.
    const others = (entry: Record<string, number>) => ms(entry, "whole") - ms(entry, "backend");
    assert.ok(leastBetween(entries, (entry) => ms(entry, "filters") - others(entry)) < 2, shown);
    const filters = Math.min(...entries.map((entry) => ms(entry, "filters")));
    assert.ok(filters >= delayMs - 1 && filters < delayMs + 12, shown);
    const overhead = Math.min(...entries.map((entry) => ms(entry, "overhead")));
    assert.ok(overhead > 0 && overhead < 2, shown);
  });

  test(`a backend's and an authorization's time are told apart within 2 ms (${io})`, async () => {
    const entries = await ask(io, "edge");
    const shown = JSON.stringify({ entries, waited, authorizing });
    const backend = leastBetween(entries, (entry, i) => ms(entry, "backend") - (waited[i] ?? 0));
    assert.ok(backend < 2, shown);
    const asked = leastBetween(
      entries,
      (entry, i) => ms(entry, "authorization") - (authorizing[i] ?? 0),
    );
    assert.ok(asked < 2, shown);
    // Nothing but the question took the filters' time.
    assert.ok(leastBetween(entries, (entry) => ms(entry, "filters")) < 2, shown);
    const overhead = Math.min(...entries.map((entry) => ms(entry, "overhead")));
    assert.ok(overhead > 0 && overhead < 2, shown);
  });
}
