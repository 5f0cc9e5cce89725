/**
 * Endpoints of HTTP/2 that mean harm: what they can do is bounded by numbers that are counted, the proxy's
 * memory stays within 64 MB of what it takes when idle, and honest requests are served all the while. On both
 * backends.
 */
import assert from "node:assert/strict";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { sidecarFlags } from "../../../src/local/run/sidecar-process.ts";
import { type ProxyProcess, startProxyProcess } from "../../support/proxy-process.ts";
import { askHonestly, growthBytesMax, sumOf, watchMemory } from "./abused-proxy.ts";
import { block, endHeaders, endStream, type Fields, frame, frameBytes } from "./raw-client.ts";

interface Harm {
  readonly name: string;
  /** Said again and again, as fast as it is taken, once a stream has begun. */
  readonly first?: (streamId: number) => Buffer;
  readonly again?: (streamId: number) => Buffer;
  /** It reads nothing any more. */
  readonly isDeaf?: boolean;
  /** What clients send. */
  readonly bodyBytes?: number;
  /** Clients read nothing. */
  readonly isUnread?: boolean;
  /** Counts it; none where windows bound it, or the number of requests. */
  readonly series?: string;
}

const ok: Fields = [[":status", "200"]];
const answer = (id: number): Buffer => frameBytes(frame.headers, endHeaders, id, block(ok));
const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const times = (count: number, bytes: Buffer): Buffer =>
  Buffer.concat(Array.from({ length: count }, () => bytes));
const empty = Buffer.alloc(0);
const window = (value: number): Buffer =>
  frameBytes(frame.settings, 0, 0, Buffer.concat([Buffer.from([0, 4]), number(value)]));
/** One entry of 3900 bytes in the table, then a byte for each time it is named. */
const bomb = Buffer.concat([
  block(ok),
  Buffer.from([0x40, 1, 0x61, 0x7f, ((3900 - 127) & 0x7f) | 0x80, (3900 - 127) >> 7]),
  Buffer.alloc(3900, "x"),
  Buffer.alloc(12_000, 0xbe),
]);

const harms: readonly Harm[] = [
  {
    name: "asks PING without reading",
    again: () => times(1000, frameBytes(frame.ping, 0, 0, Buffer.alloc(8))),
    isDeaf: true,
    series: "envoy_cluster_http2_outbound_control_flood",
  },
  {
    name: "sends SETTINGS without reading",
    again: () => times(1000, frameBytes(frame.settings, 0, 0, empty)),
    isDeaf: true,
    series: "envoy_cluster_http2_outbound_control_flood",
  },
  {
    name: "changes every stream's window again and again",
    again: () => times(100, Buffer.concat([window(1000), window(60_000)])),
  },
  {
    name: "sends frames without content",
    first: answer,
    again: (id) => times(100, frameBytes(frame.data, 0, id, empty)),
    series: "envoy_cluster_http2_inbound_empty_frames_flood",
  },
  {
    name: "sends a head in pieces without end",
    first: (id) => frameBytes(frame.headers, 0, id, block(ok)),
    again: (id) =>
      times(10, frameBytes(frame.continuation, 0, id, block([["a", "b".repeat(999)]]))),
    series: "envoy_cluster_http2_header_frames_flood",
  },
  {
    name: "names an entry of the table again and again",
    first: (id) => frameBytes(frame.headers, endHeaders | endStream, id, bomb),
    series: "envoy_cluster_http2_header_overflow",
  },
  {
    name: "sends more fields than an answer may have",
    first: (id) => {
      const fields = Array.from({ length: 1000 }, (_, at) => [`a${at}`, "b"] as const);
      return frameBytes(frame.headers, endHeaders | endStream, id, block([...ok, ...fields]));
    },
    series: "envoy_cluster_http2_header_overflow",
  },
  {
    name: "sends PRIORITY without end",
    again: (id) => times(500, frameBytes(frame.priority, 0, id, Buffer.alloc(5))),
    series: "envoy_cluster_http2_inbound_priority_frames_flood",
  },
  {
    name: "sends WINDOW_UPDATE without end",
    again: () => times(500, frameBytes(frame.windowUpdate, 0, 0, number(1))),
    series: "envoy_cluster_http2_inbound_window_update_frames_flood",
  },
  {
    name: "promises pushes",
    again: (id) => frameBytes(5, endHeaders, id, Buffer.concat([number(2), block(ok)])),
    series: "envoy_cluster_http2_rx_messaging_error",
  },
  {
    name: "says that it goes on, and on",
    again: (id) =>
      times(50, frameBytes(frame.headers, endHeaders, id, block([[":status", "103"]]))),
    series: "envoy_cluster_http2_rx_messaging_error",
  },
  {
    name: "sends its answers byte by byte, to clients that do not read",
    first: answer,
    again: (id) => times(500, frameBytes(frame.data, 0, id, Buffer.from("x"))),
    isUnread: true,
  },
  {
    name: "pads its answers, to clients that do not read",
    first: answer,
    again: (id) => {
      const padded = Buffer.concat([Buffer.from([255, 0x78]), Buffer.alloc(255)]);
      return times(50, frameBytes(frame.data, 8, id, padded));
    },
    isUnread: true,
  },
  {
    name: "resets whatever is asked",
    first: (id) => frameBytes(frame.reset, 0, id, number(2)),
  },
  {
    name: "gives no window for what clients send",
    first: () => window(0),
    bodyBytes: 4_000_000,
  },
];

let harm: Harm | undefined;
const sockets = new Set<net.Socket>();

/** Says its settings, and once a stream has begun what it is told. */
const endpoint = net.createServer((socket) => {
  sockets.add(socket);
  socket.on("close", () => sockets.delete(socket));
  socket.on("error", () => {});
  socket.write(frameBytes(frame.settings, 0, 0, empty));
  const doing = harm;
  let bytes = Buffer.alloc(0);
  let prefaceLeft = 24;
  socket.on("data", (chunk: Buffer) => {
    const from = Math.min(prefaceLeft, chunk.length);
    prefaceLeft -= from;
    bytes = Buffer.concat([bytes, chunk.subarray(from)]);
    while (bytes.length >= 9) {
      const length = bytes.readUIntBE(0, 3);
      if (bytes.length < 9 + length) return;
      const type = bytes[3];
      const streamId = bytes.readUInt32BE(5);
      bytes = bytes.subarray(9 + length);
      if (type === frame.headers && doing !== undefined) begin(socket, doing, streamId);
    }
  });
});

function begin(socket: net.Socket, doing: Harm, streamId: number): void {
  const { first, again, isDeaf } = doing;
  if (first !== undefined) socket.write(first(streamId));
  if (isDeaf === true) socket.pause();
  if (again === undefined) return;
  // By turns: what is harmed is another process, and what harms must not wait for itself.
  const go = (): void => {
    if (socket.destroyed || harm !== doing) return;
    if (socket.write(again(streamId))) setImmediate(go);
    else socket.once("drain", go);
  };
  go();
}

const honest = http.createServer((_request, response) => void response.end("ok"));
const portOf = (server: net.Server): number => (server.address() as AddressInfo).port;
const proxies = new Map<string, ProxyProcess>();

before(async () => {
  for (const server of [endpoint, honest]) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  const to = (prefix: string, cluster: string): object => ({
    match: { prefix },
    route: { cluster, timeout: "0s" },
  });
  const manager = {
    route_config: {
      virtual_hosts: [
        { name: "all", domains: ["*"], routes: [to("/honest", "app"), to("/", "hostile")] },
      ],
    },
  };
  for (const io of ["portable", "epoll"] as const) {
    const http2Clusters = { hostile: portOf(endpoint) };
    const applicationPort = portOf(honest);
    const proxy = await startProxyProcess({
      io,
      applicationPort,
      flags: sidecarFlags,
      manager,
      http2Clusters,
    });
    await askHonestly(proxy.port, () => true);
    proxies.set(io, proxy);
  }
});

after(async () => {
  for (const proxy of proxies.values()) {
    await proxy.stop();
    assert.doesNotMatch(proxy.log(), /Error|FATAL/);
  }
  for (const socket of sockets) socket.destroy();
  endpoint.close();
  honest.close();
  honest.closeAllConnections();
});

/** Asks once; what comes of it is nothing to go by. */
function ask(port: number, { bodyBytes = 0, isUnread = false }: Harm): Promise<void> {
  return new Promise((resolve) => {
    const method = bodyBytes > 0 ? "POST" : "GET";
    const request = http.request({ port, host: "127.0.0.1", path: "/any", method, agent: false });
    const over = (): void => {
      request.destroy();
      resolve();
    };
    request.setTimeout(500, over);
    request.on("error", over);
    request.on("close", over);
    request.on("response", (response) => {
      response.on("error", over);
      if (!isUnread) response.on("end", over).resume();
    });
    request.end(Buffer.alloc(bodyBytes, "b"));
  });
}

const clients = 8;
const patienceMs = 20_000;

for (const one of harms) {
  for (const io of ["portable", "epoll"] as const) {
    test(`http2 bounds an endpoint that ${one.name} (${io})`, async (t) => {
      const proxy = proxies.get(io) ?? assert.fail("it does not run");
      const { series } = one;
      const counted = series === undefined ? 0 : await sumOf(proxy, series);
      const idleBytes = proxy.memory().resident;
      harm = one;
      for (const socket of sockets) socket.destroy();
      let isOver = false;
      const serving = askHonestly(proxy.port, () => isOver);
      const memory = watchMemory(proxy, () => isOver);
      const until = performance.now() + patienceMs;
      let more = 0;
      // Where nothing counts it, for as long as it takes to ask twice.
      for (let turn = 0; turn < 2 || (series !== undefined && more === 0); turn++) {
        await Promise.all(Array.from({ length: clients }, () => ask(proxy.port, one)));
        if (series !== undefined) more = (await sumOf(proxy, series)) - counted;
        if (performance.now() > until) break;
        await sleep(1);
      }
      isOver = true;
      harm = undefined;
      const growth = (await memory) - idleBytes;
      t.diagnostic(`${Math.round(growth / 1e6)} MB more, ${await serving} honest answers`);
      for (const socket of sockets) socket.destroy();
      assert.ok(growth <= growthBytesMax, `memory grew by ${growth} bytes`);
      if (series !== undefined) assert.ok(more > 0, `${series} counted nothing`);
    });
  }
}
