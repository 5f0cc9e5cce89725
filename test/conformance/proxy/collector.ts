/**
 * A collector of logs and spans: keeps what arrives over gRPC (Envoy's access-log service, OTLP) and
 * over HTTP. Whose it is stands in the log's name, in the service's, or in the path.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";

import { systemClock } from "../../../src/base/clock.ts";
import { type GrpcServer, startGrpcServer } from "../../../src/net/grpc-server.ts";
import { defaultGrpcKeepalive } from "../../../src/net/grpc.ts";
import {
  type HTTPAccessLogEntry,
  type TCPAccessLogEntry,
} from "../../../src/wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import { StreamAccessLogsMessage } from "../../../src/wire/gen/ts/envoy/service/accesslog/v3/als.ts";
import { silentLog } from "../../support/silent-log.ts";

export interface Posted {
  readonly path: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** One call of the access-log service, to its end or so far. */
export interface LogStream {
  readonly logName: string;
  readonly node: { readonly id: string; readonly cluster: string };
  /** How many of its messages said who sends. */
  identified: number;
  messages: number;
  readonly http: HTTPAccessLogEntry[];
  readonly tcp: TCPAccessLogEntry[];
}

export interface Unary {
  readonly path: string;
  readonly metadata: string | undefined;
  readonly message: Uint8Array;
}

/** Of SkyWalking's. */
export interface Segment {
  readonly token: string | undefined;
  readonly message: Uint8Array;
}

export interface Collector {
  readonly grpcPort: number;
  readonly httpPort: number;
  readonly streams: LogStream[];
  readonly calls: Unary[];
  readonly posts: Posted[];
  readonly segments: Segment[];
  close(): Promise<void>;
}

const unaryPaths = [
  "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
  "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
];

export async function startCollector(): Promise<Collector> {
  const streams: LogStream[] = [];
  const calls: Unary[] = [];
  const posts: Posted[] = [];
  const segments: Segment[] = [];
  const grpc = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
    methods: [
      {
        kind: "stream",
        path: "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs",
        open: () => keepStream(streams),
      },
      {
        kind: "stream",
        path: "/skywalking.v3.TraceSegmentReportService/collect",
        open: (stream) => ({
          onMessage: (message) => {
            segments.push({ token: stream.metadata("authentication"), message });
          },
          onEnd: () => {
            stream.write([Buffer.alloc(5)]);
            stream.finish();
          },
          onClose: () => {},
        }),
      },
      ...unaryPaths.map((path) => ({
        kind: "unary" as const,
        path,
        handle: (message: Uint8Array, call: { metadata(name: string): string | undefined }) => {
          calls.push({ path, metadata: call.metadata("x-token"), message });
          return Promise.resolve(new Uint8Array(0));
        },
      })),
    ],
  });
  const server = await serveHttp(posts);
  const address = server.address();
  assert.ok("port" in grpc.address && typeof address === "object" && address !== null);
  return {
    grpcPort: grpc.address.port,
    httpPort: address.port,
    streams,
    calls,
    posts,
    segments,
    close: () => closeBoth(grpc, server),
  };
}

function keepStream(streams: LogStream[]) {
  let stream: LogStream | undefined;
  return {
    onMessage(bytes: Uint8Array) {
      const message = StreamAccessLogsMessage.decode(bytes);
      if (stream === undefined) {
        const { logName = "", node } = message.identifier ?? {};
        const { id = "", cluster = "" } = node ?? {};
        stream = {
          logName,
          node: { id, cluster },
          identified: 0,
          messages: 0,
          http: [],
          tcp: [],
        };
        streams.push(stream);
      }
      if (message.identifier !== undefined) stream.identified++;
      stream.messages++;
      stream.http.push(...(message.httpLogs?.logEntry ?? []));
      stream.tcp.push(...(message.tcpLogs?.logEntry ?? []));
    },
    onClose() {},
  };
}

async function serveHttp(posts: Posted[]): Promise<http.Server> {
  const server = http.createServer((request, answer) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      const { url: path = "", headers } = request;
      posts.push({ path, headers, body: Buffer.concat(pieces) });
      // Datadog's agent answers with shares of services.
      answer.writeHead(path.startsWith("/v0.4") ? 200 : 202).end("{}");
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}

async function closeBoth(grpc: GrpcServer, server: http.Server): Promise<void> {
  server.close();
  server.closeAllConnections();
  await grpc.close();
}

/** A message without its schema: texts where bytes are some, messages where they can be read as such. */
export type Tree = { readonly [field: string]: readonly (Tree | string | number)[] };

export function treeOf(message: Uint8Array): Tree | undefined {
  const tree: Record<string, (Tree | string | number)[]> = {};
  try {
    const reader = new BinaryReader(message);
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      const values = (tree[field] ??= []);
      if (wireType === WireType.Varint) values.push(Number(reader.uint64()));
      else if (wireType === WireType.Bit64) values.push(String(reader.fixed64()));
      else if (wireType === WireType.LengthDelimited) values.push(valueOf(reader.bytes()));
      else return undefined;
    }
  } catch {
    return undefined;
  }
  return tree;
}

function valueOf(bytes: Uint8Array): Tree | string {
  const text = Buffer.from(bytes).toString("utf8");
  if (/^[\x20-\x7e\u00a0-\uffef]*$/u.test(text) && !text.includes("\ufffd")) return text;
  return treeOf(bytes) ?? Buffer.from(bytes).toString("hex");
}

/** Waits for what is certain to come. */
export async function until<T>(find: () => T | undefined, what: () => string): Promise<T> {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const found = find();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`it did not come: ${what()}`);
    await sleep(10);
  }
}
