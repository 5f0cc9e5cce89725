/**
 * Calls of gRPC that are large: messages above the 4 MB that its clients allow by default, and metadata near
 * what a head may have, through two proxies with mutual TLS between. Heddle on either backend, and Envoy with the
 * same files.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { type Hop, hopBootstrap, type HopCertificates, hopCertificates } from "./hops.ts";
import { type PlaneName, planeNames, untilOpen } from "./planes.ts";

interface Plane {
  readonly port: number;
  readonly close: () => Promise<void>;
}

/** Of what a client or server has sent: enough to be sure that the other got the same. */
function digest(bytes: Uint8Array): string {
  return `${bytes.length} ${createHash("sha256").update(bytes).digest("hex")}`;
}

function digestOfFields(headers: http2.IncomingHttpHeaders): string {
  const fields = Object.entries(headers).filter(([name]) => name.startsWith("x-large-"));
  const text = fields.map(([name, value]) => `${name}: ${String(value)}`).toSorted();
  return digest(Buffer.from(text.join("\n")));
}

/** `bytes` of metadata in fields of a kilobyte each; no two blocks of them are alike. */
function metadata(bytes: number): Record<string, string> {
  const count = Math.floor(bytes / 1024);
  const fields = Array.from({ length: count }, (_, i): [string, string] => [
    `x-large-${i}-bin`,
    Buffer.alloc(720, `${i} of ${count} `).toString("base64"),
  ]);
  return Object.fromEntries(fields);
}

const sizes = { messageBytes: 9_000_000, metadataBytes: 40 * 1024 };
const big = { maxSendHeaderBlockLength: 1 << 20, settings: { maxHeaderListSize: 1 << 20 } };

/** Says back what it gets, and metadata in all three places: asked, before and behind the message. */
const server = http2.createServer({ ...big, maxHeaderListPairs: 500 });
server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
  const chunks: Buffer[] = [];
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => chunks.push(chunk));
  stream.on("end", () => {
    const more = metadata(sizes.metadataBytes / 2);
    const head = { "content-type": "application/grpc", "x-asked": digestOfFields(headers) };
    stream.respond({ ":status": 200, ...head, ...more }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0", ...more }));
    stream.end(Buffer.concat(chunks));
  });
});
server.on("sessionError", () => {});
const sessions = new Set<http2.ServerHttp2Session>();
server.on("session", (session) => sessions.add(session));

const planes = new Map<PlaneName, Plane>();

async function start(
  name: PlaneName,
  serverPort: number,
  certificates: HopCertificates,
): Promise<Plane> {
  const ports = { outer: await freePort(), inner: await freePort(), server: serverPort };
  const closes: (() => Promise<void>)[] = [];
  for (const hop of ["inner", "outer"] satisfies Hop[]) {
    const config = hopBootstrap(hop, ports, certificates);
    if (name === "envoy") {
      const envoy = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), config);
      closes.push(() => envoy.stop());
    } else {
      closes.push((await startProxyInProcess(config, name)).close);
    }
    await untilOpen(ports[hop]);
  }
  const close = async (): Promise<void> => {
    for (const each of closes) await each();
  };
  return { port: ports.outer, close };
}

before(async () => {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const certificates = await hopCertificates();
  for (const name of planeNames) planes.set(name, await start(name, port, certificates));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  for (const session of sessions) session.destroy();
  server.close();
});

interface Told {
  readonly status: string;
  readonly grpcStatus: string;
  /** As the server saw it. */
  readonly asked: string;
  readonly head: string;
  readonly message: string;
  readonly trailers: string;
}

async function call(port: number, message: Buffer, fields: Record<string, string>): Promise<Told> {
  const client = http2.connect(`http://127.0.0.1:${port}`, { ...big, maxHeaderListPairs: 500 });
  client.on("error", () => {});
  try {
    const stream = client.request({
      ":method": "POST",
      ":path": "/test.Large/Echo",
      "content-type": "application/grpc",
      te: "trailers",
      ...fields,
    });
    let head: http2.IncomingHttpHeaders = {};
    let trailers: http2.IncomingHttpHeaders = {};
    const chunks: Buffer[] = [];
    stream.on("response", (got) => (head = got));
    stream.on("trailers", (got) => (trailers = got));
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.end(message);
    await once(stream, "close");
    return {
      status: String(head[":status"]),
      grpcStatus: String(trailers["grpc-status"] ?? head["grpc-status"]),
      asked: String(head["x-asked"]),
      head: digestOfFields(head),
      message: digest(Buffer.concat(chunks)),
      trailers: digestOfFields(trailers),
    };
  } finally {
    client.destroy();
  }
}

function framed(bytes: Buffer): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

for (const name of planeNames) {
  const portOf = (): number => planes.get(name)?.port ?? assert.fail();

  test(`a message of 9 MB and 40 KB of metadata pass two proxies, both ways (${name})`, async () => {
    const message = framed(Buffer.alloc(sizes.messageBytes, "large "));
    const fields = metadata(sizes.metadataBytes);
    const half = digestOfFields(metadata(sizes.metadataBytes / 2));
    assert.deepEqual(await call(portOf(), message, fields), {
      status: "200",
      grpcStatus: "0",
      asked: digestOfFields(fields),
      head: half,
      message: digest(message),
      trailers: half,
    });
  });

  test(`eight such calls at once are each their own (${name})`, async () => {
    const messages = Array.from({ length: 8 }, (_, i) =>
      framed(Buffer.alloc(5_000_000, `call ${i} `)),
    );
    const told = await Promise.all(messages.map((message) => call(portOf(), message, {})));
    assert.deepEqual(
      told.map(({ grpcStatus, message }) => [grpcStatus, message]),
      messages.map((message) => ["0", digest(message)]),
    );
  });
}
