/** What is asked of the proxies, and of which. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import {
  type GrpcCall,
  type Measurement,
  type Target,
  runGhz,
  runH2load,
  runLoad,
  runWrk,
} from "./measure.ts";

export interface Scenario {
  readonly name: string;
  readonly what: string;
  /** Kinds of contestants that take part. */
  readonly kinds: RegExp;
  /** Asked so seldom that warming up takes so many times as long. */
  readonly warmTimes?: number;
  /** What CPU time is counted per. */
  readonly unit: string;
  readonly run: (target: Target, seconds: number) => Promise<Measurement>;
}

const megabytes = 10;
const slowlyWarm = 5;
/** Messages of one stream. */
const streamed = 1000;
const gridKinds = /^(?:plain|mesh|pair-mesh|pair-mesh-h2)$/;
const grpcKinds = /^(?:mesh-grpc|pair-mesh-grpc)$/;
/** The pair's inbound listener is next to its outbound one. */
export const inboundOffset = 1;

export const scenarios: readonly Scenario[] = [
  {
    name: "keep-alive",
    what: "32 connections, 64 bytes each answer",
    kinds: /^(?:plain|mesh|pair|pair-h2|pair-mesh|pair-mesh-h2|file)$/,
    unit: "request",
    run: (target, seconds) =>
      runH2load(target, { seconds, connections: 32, streams: 1, protocol: "HTTP/1.1" }),
  },
  http2(16, 8),
  http2(1, 32),
  grpc(16, 8),
  grpc(1, 32),
  {
    name: "grpc-messages",
    what: `streams of gRPC, ${streamed} messages of 1 KB each, 8 connections with 2 at once on each`,
    kinds: grpcKinds,
    warmTimes: slowlyWarm,
    unit: "message",
    run: async (target, seconds) => {
      const load = { seconds, connections: 8, streams: 2, call: streamingCall(target.folder) };
      const { units, cpuUs, perSecond, ...rest } = await runH2load(target, load);
      return {
        ...rest,
        units: units * streamed,
        cpuUs: cpuUs / streamed,
        perSecond: perSecond * streamed,
        delaysMs: undefined,
      };
    },
  },
  {
    name: "grpc-open-loop-1000",
    what: "1,000 unary calls of gRPC a second at fixed times, 8 connections",
    kinds: grpcKinds,
    warmTimes: slowlyWarm,
    unit: "request",
    run: (target, seconds) => {
      const call = { method: "UnaryCall", request: { response_size: 64 } };
      return runGhz(target, { seconds, connections: 8, rate: 1000, call });
    },
  },
  {
    name: "connections",
    what: "a connection for each request",
    kinds: /^(?:plain)$/,
    unit: "connection",
    run: (target, seconds) => runWrk(target, { seconds, connections: 32, path: "/", closes: true }),
  },
  handshakes("full"),
  handshakes("resumed"),
  {
    name: "bodies",
    what: "answers of 10 MB, 8 connections",
    kinds: /^plain$/,
    unit: "MB",
    run: largeBodies(8),
  },
  {
    name: "tcp",
    what: "10 MB through a TCP proxy, 8 connections",
    kinds: /^tcp$/,
    unit: "MB",
    run: largeBodies(8),
  },
  openLoop(2000, /^(?:pair-mesh|pair-mesh-h2)$/),
];

/** Connections by sizes, and rates: for a quiet machine, it takes an hour. */
export const grid: readonly Scenario[] = [
  ...[32, 256, 2000].flatMap((connections) => [
    ...["64", "1024", "65536"].map((bytes): Scenario => {
      const path = bytes === "64" ? "/" : `/bytes/${bytes}`;
      return {
        name: `grid-${connections}-${bytes}`,
        what: `${connections} connections, ${bytes} bytes each answer`,
        kinds: gridKinds,
        unit: "request",
        run: (target, seconds) =>
          runWrk(target, { seconds: enough(seconds, connections), connections, path }),
      };
    }),
    {
      name: `grid-${connections}-10MB`,
      what: `${connections} connections, ${megabytes} MB each answer`,
      kinds: gridKinds,
      unit: "MB",
      run: (target: Target, seconds: number) =>
        largeBodies(connections)(target, enough(seconds, connections)),
    },
  ]),
  ...[20, 200, 12_800].map((rate) => openLoop(rate, gridKinds)),
];

function http2(streams: number, connections: number): Scenario {
  return {
    name: `http2-${streams}`,
    what: `HTTP/2 from clients, ${connections} connections with ${streams} at once on each`,
    kinds: /^(?:mesh|mesh-h2|pair-mesh|pair-mesh-h2|file)$/,
    unit: "request",
    run: (target, seconds) => runH2load(target, { seconds, connections, streams }),
  };
}

function grpc(streams: number, connections: number): Scenario {
  return {
    name: `grpc-${streams}`,
    what: `unary gRPC, ${connections} connections with ${streams} at once on each`,
    kinds: grpcKinds,
    warmTimes: slowlyWarm,
    unit: "request",
    // Not ghz, which spends some 200 µs on a call: proxies would be measured while they idle.
    run: (target, seconds) =>
      runH2load(target, { seconds, connections, streams, call: unaryCall(target.folder) }),
  };
}

/** UnaryCall with `response_size: 64`. */
function unaryCall(folder: string): GrpcCall {
  const request = Buffer.from([0x10, 64]);
  return callOf(folder, "UnaryCall", request, framed(answer(64)).length);
}

/** StreamingOutputCall with as many `response_parameters {size: 1024}` as messages are to come. */
function streamingCall(folder: string): GrpcCall {
  const request = Buffer.concat(Array(streamed).fill(Buffer.from([0x12, 3, 0x08, 0x80, 0x08])));
  return callOf(folder, "StreamingOutputCall", request, streamed * framed(answer(1024)).length);
}

function callOf(folder: string, method: string, request: Buffer, answerBytes: number): GrpcCall {
  const bodyFile = join(folder, `${method}.bin`);
  writeFileSync(bodyFile, framed(request));
  return { path: `/grpc.testing.TestService/${method}`, bodyFile, answerBytes };
}

/** `{payload: {body: BYTES}}` of grpc.testing, as long as it is. */
function answer(bytes: number): Buffer {
  const lengthBytes = bytes < 124 ? 1 : 2;
  return Buffer.alloc(2 * (1 + lengthBytes) + bytes);
}

/** A message of gRPC: not compressed, its length, itself. */
function framed(message: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(message.length, 1);
  return Buffer.concat([head, message]);
}

function handshakes(mode: "full" | "resumed"): Scenario {
  return {
    name: `handshakes-${mode}`,
    what: `mutual TLS, ${mode}, one request on each connection`,
    kinds: /^(?:pair|tls)$/,
    warmTimes: slowlyWarm,
    unit: "handshake",
    run: async (target, seconds) => {
      const files = ["cert.pem", "key.pem"].map((file) => join(target.folder, file));
      const port = target.port + inboundOffset;
      const args = [String(port), mode, String(seconds), ...files];
      const { result, ...used } = await runLoad(target, "tls-clients.ts", args);
      const count = result["handshakes"] ?? 0;
      return {
        ...used,
        units: count,
        perSecond: count / seconds,
        cpuUs: used.cpuUs / count,
        failures: result["failures"] ?? 0,
        resumed: (result["resumed"] ?? 0) / count,
      };
    },
  };
}

/** Seconds: between two proxies each connection begins with a handshake, some 2 ms of processor time. */
const enough = (seconds: number, connections: number): number =>
  connections < 256 ? seconds : seconds * (connections < 2000 ? 3 : 6);

function largeBodies(connections: number): Scenario["run"] {
  const path = `/bytes/${megabytes * 1024 * 1024}`;
  return (target, seconds) => runWrk(target, { seconds, connections, path, unit: "MB" });
}

function openLoop(rate: number, kinds: RegExp): Scenario {
  return {
    name: `open-loop-${rate}`,
    what: `${rate} requests/s at fixed times, 16 connections`,
    kinds,
    unit: "request",
    run: async (target, seconds) => {
      const args = [target.port, rate, seconds, 16].map(String);
      const { result, ...used } = await runLoad(target, "open-loop.ts", args);
      const { requests = 0, failures = 0 } = result;
      const delay = (name: string): number => result[name] ?? Number.NaN;
      return {
        ...used,
        units: requests,
        perSecond: requests / seconds,
        cpuUs: used.cpuUs / requests,
        failures,
        delaysMs: {
          p50: delay("p50"),
          p99: delay("p99"),
          p999: delay("p999"),
          max: delay("max"),
        },
      };
    },
  };
}
