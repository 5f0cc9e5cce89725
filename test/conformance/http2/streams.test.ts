/**
 * Streams that go on and on: server-sent events, bodies that are sent piece by piece, both at once. Each piece
 * arrives before the next is sent, so nothing on the way gathers them. Clients and servers of HTTP/1.1 and HTTP/2
 * in every combination, under Heddle on either backend, and under Envoy.
 */
import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import type { Readable, Writable } from "node:stream";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";

const names = ["portable", "epoll", "envoy"] as const;
type Name = (typeof names)[number];
const protocols = ["http1", "http2"] as const;
type Protocol = (typeof protocols)[number];
const extensions = "type.googleapis.com/envoy.extensions";
const pieces = 5;

interface Exchange {
  readonly request: Readable;
  readonly response: Writable;
}

interface Plane {
  readonly port: number;
  readonly close: () => Promise<void>;
}

const planes = new Map<Name, Plane>();
/** What servers were asked, by path. */
const asked = new Map<string, Exchange>();
const plain = http.createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/event-stream" });
  response.flushHeaders();
  asked.set(request.url ?? "", { request, response });
});
const framed = http2.createServer();
const sessions = new Set<http2.ServerHttp2Session>();
framed.on("session", (session) => sessions.add(session));
framed.on("stream", (stream: http2.ServerHttp2Stream, fields: http2.IncomingHttpHeaders) => {
  stream.respond({ ":status": 200, "content-type": "text/event-stream" });
  stream.on("error", () => {});
  asked.set(fields[":path"] ?? "", { request: stream, response: stream });
});

function bootstrap(port: number, ports: Readonly<Record<Protocol, number>>): object {
  const address = (at: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: at },
  });
  const cluster = (name: Protocol): object => ({
    name,
    type: "STATIC",
    connect_timeout: "5s",
    ...(name === "http2"
      ? {
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
        }
      : {}),
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(ports[name]) } }] }],
    },
  });
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "streams",
    http_filters: [
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
      },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: protocols.map((name) => ({
            match: { prefix: `/${name}/` },
            route: { cluster: name, timeout: "0s" },
          })),
        },
      ],
    },
  };
  return {
    static_resources: {
      clusters: protocols.map(cluster),
      listeners: [
        {
          name: "streams",
          address: address(port),
          filter_chains: [{ filters: [{ name: "hcm", typed_config: manager }] }],
        },
      ],
    },
  };
}

before(async () => {
  for (const server of [plain, framed]) {
    await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  }
  const ports = {
    http1: (plain.address() as AddressInfo).port,
    http2: (framed.address() as AddressInfo).port,
  };
  for (const name of names) {
    const port = await freePort();
    const config = bootstrap(port, ports);
    if (name !== "envoy") planes.set(name, { port, ...(await startProxyInProcess(config, name)) });
    else {
      const envoy = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), config);
      planes.set(name, { port, close: () => envoy.stop() });
    }
    await until("nobody listens", () =>
      fetch(`http://127.0.0.1:${port}/`).then(Boolean, () => false),
    );
  }
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  plain.close();
  plain.closeAllConnections();
  framed.close();
  for (const session of sessions) session.destroy();
});

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await isSo())) {
    assert.ok(performance.now() < deadline, what);
    await sleep(2);
  }
}

interface Asking {
  readonly request: Writable;
  /** Once the answer has begun. */
  readonly response: () => Readable | undefined;
  readonly close: () => void;
}

function ask(protocol: Protocol, port: number, path: string): Asking {
  if (protocol === "http1") {
    let response: Readable | undefined;
    const request = http.request({ port, path, method: "POST", agent: false }, (answer) => {
      response = answer;
    });
    request.on("error", () => {});
    request.flushHeaders();
    return { request, response: () => response, close: () => request.destroy() };
  }
  const client = http2.connect(`http://127.0.0.1:${port}`);
  client.on("error", () => {});
  const stream = client.request({ ":method": "POST", ":path": path });
  let hasAnswer = false;
  stream.on("error", () => {});
  stream.on("response", () => (hasAnswer = true));
  return {
    request: stream,
    response: () => (hasAnswer ? stream : undefined),
    close: () => client.destroy(),
  };
}

/** Everything that has come. */
function collect(from: Readable): () => string {
  let text = "";
  from.on("data", (part: Buffer) => (text += part.toString()));
  return () => text;
}

let turn = 0;

async function begin(name: Name, client: Protocol, server: Protocol) {
  const path = `/${server}/${turn++}`;
  const asking = ask(client, (planes.get(name) ?? assert.fail()).port, path);
  await until("the server is not asked", () => asked.has(path));
  const { request, response } = asked.get(path) ?? assert.fail();
  await until("the answer does not begin", () => asking.response() !== undefined);
  const got = asking.response() ?? assert.fail();
  return { asking, seen: collect(request), response, got, answered: collect(got) };
}

for (const name of names) {
  for (const client of protocols) {
    for (const server of protocols) {
      const way = `${client} to ${server}, ${name}`;

      test(`events arrive one by one, and then their end (${way})`, async () => {
        const { asking, response, got, answered } = await begin(name, client, server);
        asking.request.end();
        let all = "";
        for (let at = 0; at < pieces; at++) {
          const event = `data: ${at}\n\n`;
          all += event;
          response.write(event);
          await until(`event ${at} does not come`, () => answered() === all);
        }
        let hasEnded = false;
        got.on("end", () => (hasEnded = true));
        response.end();
        await until("the end does not come", () => hasEnded);
        asking.close();
      });

      test(`a body and its answer pass at once, piece by piece (${way})`, async () => {
        const { asking, seen, response, answered } = await begin(name, client, server);
        let sent = "";
        for (let at = 0; at < pieces; at++) {
          sent += `piece ${at};`;
          asking.request.write(`piece ${at};`);
          await until(`piece ${at} does not come`, () => seen() === sent);
          response.write(`piece ${at};`);
          await until(`answer ${at} does not come`, () => answered() === sent);
        }
        asking.request.end();
        response.end();
        asking.close();
      });

      test(`a client that leaves ends its stream at the server (${way})`, async () => {
        const { asking, response, answered } = await begin(name, client, server);
        response.write("data: 1\n\n");
        await until("the event does not come", () => answered() !== "");
        let isOver = false;
        response.on("close", () => (isOver = true));
        asking.close();
        await until("the server goes on", () => isOver);
      });
    }
  }
}
