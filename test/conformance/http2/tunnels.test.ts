/**
 * Tunnels through streams of HTTP/2: WebSocket by extended CONNECT (RFC 8441) towards servers of
 * HTTP/1.1, and CONNECT. Heddle on either backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { endHeaders, endStream, type Fields, frame, RawClient } from "./raw-client.ts";

const names = ["portable", "epoll", "envoy"] as const;
type Name = (typeof names)[number];
const extensions = "type.googleapis.com/envoy.extensions";

interface Plane {
  readonly port: number;
  readonly close: () => Promise<void>;
}

const planes = new Map<Name, Plane>();
/** What the application saw of requests. */
const seen: string[] = [];
/** Tunnels that applications have open. */
let open = 0;

const application = http.createServer((request, response) => {
  seen.push(`${request.method} ${request.url}`);
  response.writeHead(200).end("plain");
});
application.on("upgrade", (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => {
  const { method, url, headers } = request;
  seen.push(`${method} ${url} ${headers.upgrade} ${headers.connection?.toLowerCase()}`);
  socket.on("error", () => {});
  if (url === "/refused") {
    socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno");
    return;
  }
  socket.write(
    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
  );
  serve(socket, head);
});
const echo = net.createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => {});
  serve(socket, Buffer.alloc(0));
});

/** Says everything back; `bye` makes it close, `large` say much. */
function serve(socket: net.Socket, head: Buffer): void {
  const take = (chunk: Buffer): void => {
    const text = chunk.toString("latin1");
    if (text === "large") return void socket.write(Buffer.alloc(300_000, "x"));
    socket.write(chunk);
    if (text === "bye") socket.end();
  };
  open++;
  socket.on("data", take);
  socket.on("close", () => open--);
  socket.on("end", () => socket.end());
  if (head.length > 0) take(head);
}

function bootstrap(port: number, applicationPort: number, echoPort: number): object {
  const cluster = (name: string, to: number): object => {
    const address = { socket_address: { address: "127.0.0.1", port_value: to } };
    const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
    const load_assignment = { cluster_name: name, endpoints };
    return { name, connect_timeout: "1s", type: "STATIC", load_assignment };
  };
  const connect = {
    match: { connect_matcher: {} },
    route: {
      cluster: "echo",
      upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
    },
  };
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "tunnels",
    http2_protocol_options: { allow_connect: true },
    upgrade_configs: [{ upgrade_type: "websocket" }],
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
          routes: [connect, { match: { prefix: "/" }, route: { cluster: "app" } }],
        },
      ],
    },
  };
  const filters = [{ name: "hcm", typed_config: manager }];
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  return {
    static_resources: {
      clusters: [cluster("app", applicationPort), cluster("echo", echoPort)],
      listeners: [{ name: "tunnels", address, filter_chains: [{ filters }] }],
    },
  };
}

async function start(name: Name, ports: readonly [number, number]): Promise<Plane> {
  const port = await freePort();
  const config = bootstrap(port, ...ports);
  if (name !== "envoy") return { port, ...(await startProxyInProcess(config, name)) };
  const binary = findEnvoy();
  if (binary === undefined) throw new Error("no Envoy at hand: npm test installs one");
  const envoy = startEnvoy(binary, config, []);
  await until(() => isOpen(port), "Envoy listens");
  return { port, close: () => envoy.stop() };
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.once("connect", () => resolve(socket.destroy() !== undefined));
    socket.once("error", () => resolve(false));
  });
}

async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await isSo())) {
    if (Date.now() > deadline) assert.fail(`never: ${what}`);
    await sleep(10);
  }
}

function portOf(server: net.Server): number {
  const address = server.address();
  return address !== null && typeof address !== "string" ? address.port : 0;
}

before(async () => {
  for (const server of [application, echo]) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  const ports = [portOf(application), portOf(echo)] as const;
  for (const name of names) planes.set(name, await start(name, ports));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  application.close();
  application.closeAllConnections();
  echo.close();
});

function extended(path: string, protocol = "websocket"): Fields {
  return [
    [":method", "CONNECT"],
    [":protocol", protocol],
    [":scheme", "http"],
    [":authority", "shop.test"],
    [":path", path],
    ["sec-websocket-version", "13"],
  ];
}

const connect: Fields = [
  [":method", "CONNECT"],
  [":authority", "shop.test:80"],
];

class Tunnel {
  readonly #client: RawClient;

  constructor(client: RawClient) {
    this.#client = client;
  }

  say(text: string, flags = 0): void {
    this.#client.frame(frame.data, flags, 1, Buffer.from(text));
  }

  async hears(text: string): Promise<void> {
    await until(() => this.#client.streams.get(1)?.body === text, text.slice(0, 20));
  }

  async isAnswered(status: string): Promise<void> {
    await until(() => this.#client.streams.get(1)?.status === status, status);
  }

  /** How the stream ended: wholly, and with which code of a reset. */
  async ends(): Promise<string> {
    const stream = () => this.#client.streams.get(1);
    await until(() => stream()?.isWhole === true || stream()?.reset !== undefined, "an end");
    await sleep(50);
    return `${stream()?.isWhole} ${stream()?.reset}`;
  }
}

/**
 * The end of a server's connection is the end of the stream (RFC 8441 section 5); Envoy breaks the stream
 * off, as for an answer that is cut short.
 */
const serversEnd = { theirs: "false 10", ours: "true 0" };

/** Runs it through each data plane; all come to the same. */
function compare(
  title: string,
  run: (client: RawClient, tunnel: Tunnel) => Promise<readonly unknown[]>,
): void {
  test(title, async () => {
    const outcomes: (readonly unknown[])[] = [];
    for (const name of names) {
      const client = await RawClient.connect(planes.get(name)?.port ?? 0);
      client.begin();
      seen.length = 0;
      const outcome = await run(client, new Tunnel(client));
      outcomes.push([...outcome, ...seen]);
      client.close();
      await until(() => open === 0, "tunnels close");
    }
    const [portable, epoll, envoy = []] = outcomes;
    const { theirs, ours } = serversEnd;
    const expected = envoy.map((one) => (one === theirs ? ours : one));
    assert.deepEqual(portable, expected);
    assert.deepEqual(epoll, expected);
  });
}

compare("WebSocket passes through a stream, and ends with its server", async (client, tunnel) => {
  client.request(1, extended("/chat"), endHeaders);
  await tunnel.isAnswered("200");
  tunnel.say("one");
  await tunnel.hears("one");
  client.request(3, [
    [":method", "GET"],
    [":scheme", "http"],
    [":authority", "shop.test"],
    [":path", "/ok"],
  ]);
  await until(() => client.streams.get(3)?.body === "plain", "another stream");
  tunnel.say("bye");
  await tunnel.hears("onebye");
  const fields = Object.keys(client.streams.get(1)?.fields ?? {}).filter(
    (name) => !/^(date|x-envoy-upstream-service-time)$/.test(name),
  );
  return [await tunnel.ends(), ...fields.toSorted()];
});

compare("what a client says too early waits for the server's consent", async (client, tunnel) => {
  client.request(1, extended("/chat"), endHeaders);
  tunnel.say("early");
  await tunnel.isAnswered("200");
  await tunnel.hears("early");
  return [];
});

compare("a server may refuse", async (client, tunnel) => {
  client.request(1, extended("/refused"), endHeaders);
  await tunnel.isAnswered("403");
  await tunnel.hears("no");
  return [];
});

compare("protocols that are not configured are refused", async (client, tunnel) => {
  client.request(1, extended("/chat", "strange"), endHeaders);
  await tunnel.isAnswered("403");
  return [];
});

compare("a stream that asks for HTTP/2 within it is no request either", async (client, tunnel) => {
  client.request(1, extended("/ok", "h2c"), endHeaders);
  await tunnel.isAnswered("403");
  return [];
});

compare("CONNECT reaches its endpoint, with more than a window", async (client, tunnel) => {
  client.request(1, connect, endHeaders);
  await tunnel.isAnswered("200");
  tunnel.say("large");
  client.frame(frame.windowUpdate, 0, 0, Buffer.from([0, 15, 0, 0]));
  client.frame(frame.windowUpdate, 0, 1, Buffer.from([0, 15, 0, 0]));
  await until(() => client.streams.get(1)?.body.length === 300_000, "all of it");
  return [];
});

compare("a client that breaks off closes the tunnel", async (client, tunnel) => {
  client.request(1, connect, endHeaders);
  await tunnel.isAnswered("200");
  tunnel.say("one");
  await tunnel.hears("one");
  client.frame(frame.reset, 0, 1, Buffer.from([0, 0, 0, 8]));
  await until(() => open === 0, "the tunnel closes");
  return [];
});

compare("a client that ends its half is answered to the end", async (client, tunnel) => {
  client.request(1, connect, endHeaders);
  await tunnel.isAnswered("200");
  tunnel.say("last", endStream);
  await tunnel.hears("last");
  const end = await tunnel.ends();
  await until(() => open === 0, "the tunnel closes");
  return [end];
});

test("HTTP/1.1 is not switched to HTTP/2: the offer is passed over", async () => {
  const answers: string[] = [];
  for (const name of names) {
    const socket = net.connect(planes.get(name)?.port ?? 0, "127.0.0.1");
    let answer = "";
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.write(
      "GET /ok HTTP/1.1\r\nhost: shop.test\r\nconnection: upgrade, http2-settings\r\n" +
        "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n\r\n",
    );
    await until(() => answer.endsWith("plain") || answer.includes("plain\r\n"), "an answer");
    socket.destroy();
    answers.push(answer.slice(0, answer.indexOf("\r\n")));
  }
  assert.deepEqual(
    answers,
    Array.from({ length: 3 }, () => "HTTP/1.1 200 OK"),
  );
});
