/**
 * Whose milliseconds a request took, measured: a backend that waits 50 ms and a fault that delays by
 * 20 ms are told apart by the access log, under Heddle's data plane on both backends. Medians of
 * several requests: another process may hold any one of them up.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";

import { type Place, runHeddle, type RunningData } from "./scenario-proxies.ts";

const backendMs = 50;
const delayMs = 20;
const requests = 9;
const extensions = "type.googleapis.com/envoy.extensions";

let server: net.Server | undefined;
const heddles = new Map<string, RunningData>();
/** What the backend really waited, by request. */
const waited: number[] = [];

before(async () => {
  server = net.createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {
      const from = performance.now();
      setTimeout(() => {
        waited.push(performance.now() - from);
        socket.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
      }, backendMs);
    });
  });
  const listening = server;
  await new Promise<void>((resolve) => listening.listen(0, "127.0.0.1", resolve));
  const address = listening.address();
  assert.ok(typeof address === "object" && address !== null);
  const application = { port: address.port, takeHeads: () => [], close: () => {} };
  for (const io of ["portable", "epoll"] as const) {
    heddles.set(io, await runHeddle(bootstrap(address.port), application, { io, workers: 0 }));
  }
});

after(async () => {
  for (const heddle of heddles.values()) await heddle.close();
  server?.close();
});

function bootstrap(port: number): (place: Place) => string {
  const format = {
    filters: "%HEDDLE_DURATION(filters:us)%",
    backend: "%HEDDLE_DURATION(first_byte:us)%",
    envoy: "%COMMON_DURATION(US_TX_END:US_RX_BEG:us)%",
    overhead: "%HEDDLE_DURATION(overhead:us)%",
    whole: "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
  };
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  const delay = { fixed_delay: `${delayMs / 1000}s`, percentage: { numerator: 100 } };
  return ({ ports, logFile }) => {
    const manager = {
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
        {
          name: "envoy.filters.http.fault",
          typed_config: { "@type": `${extensions}.filters.http.fault.v3.HTTPFault`, delay },
        },
        {
          name: "envoy.filters.http.router",
          typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
        },
      ],
    };
    const socket = { socket_address: { address: "127.0.0.1", port_value: ports.mesh } };
    return JSON.stringify({
      static_resources: {
        clusters: [
          {
            name: "app",
            type: "STATIC",
            load_assignment: {
              cluster_name: "app",
              endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
            },
          },
        ],
        listeners: [
          {
            name: "mesh",
            address: socket,
            filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
          },
        ],
      },
    });
  };
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

for (const io of ["portable", "epoll"] as const) {
  test(`a backend's and a filter's time are told apart within 2 ms (${io})`, async () => {
    const heddle = heddles.get(io);
    assert.ok(heddle !== undefined);
    waited.length = 0;
    const entries: Record<string, number>[] = [];
    for (let i = 0; i < requests; i++) {
      const { log } = await heddle.ask("mesh", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", undefined);
      const entry: Record<string, number> = JSON.parse(log[0] ?? "{}");
      entries.push(
        Object.fromEntries(Object.entries(entry).map(([name, us]) => [name, us / 1000])),
      );
    }
    const of = (read: (entry: Record<string, number>) => number) => median(entries.map(read));
    const backend = of((entry) => entry["backend"] ?? Number.NaN);
    assert.ok(Math.abs(backend - median(waited)) < 2, `${backend} for ${median(waited)}`);
    assert.ok(Math.abs(of((entry) => entry["envoy"] ?? 0) - backend) < 2);
    // A delay ends with a tick of the wheel: what it really took is what nobody else did.
    const others = of((entry) => (entry["whole"] ?? 0) - (entry["backend"] ?? 0));
    const filters = of((entry) => entry["filters"] ?? Number.NaN);
    assert.ok(Math.abs(filters - others) < 2, `${filters} of ${others}`);
    assert.ok(filters >= delayMs - 1 && filters < delayMs + 12, String(filters));
    const overhead = of((entry) => entry["overhead"] ?? Number.NaN);
    assert.ok(overhead > 0 && overhead < 2, String(overhead));
  });
}
