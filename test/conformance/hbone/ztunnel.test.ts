/**
 * HBONE as ztunnel speaks it, scripted, on either side of the proxy: `:authority` says where the
 * connection was meant to go, `baggage` who it comes from; 200 and then raw bytes; a hundred streams for each
 * connection; PINGs.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import {
  connectManager,
  type Credentials,
  http2Options,
  listener,
  secured,
  socketAddress,
  staticCluster,
  tcpFilter,
  tunnelTo,
} from "./bootstraps.ts";
import { Client, EchoServer, type RunningPlane, startPlane, until } from "./planes.ts";

const baggage =
  "k8s.cluster.name=Kubernetes,k8s.namespace.name=shop,k8s.deployment.name=cart,service.name=cart";

interface Session {
  readonly session: http2.ServerHttp2Session;
  pings: number;
}

/** The far end: what it was asked, and what it answers. */
class ScriptedZtunnel {
  readonly asked: http2.IncomingHttpHeaders[] = [];
  readonly sessions: Session[] = [];
  readonly streams: http2.ServerHttp2Stream[] = [];
  status = 200;
  readonly #server: http2.Http2SecureServer;

  constructor({ rootPem, certificate }: Credentials) {
    this.#server = http2.createSecureServer({
      key: certificate.privateKeyPem,
      cert: certificate.chainPem,
      ca: rootPem,
      requestCert: true,
      settings: { maxConcurrentStreams: 100 },
    });
    this.#server.on("session", (session) => {
      const entry: Session = { session, pings: 0 };
      this.sessions.push(entry);
      session.on("ping", () => entry.pings++);
      session.on("error", () => {});
    });
    this.#server.on("stream", (stream: http2.ServerHttp2Stream, headers) => {
      this.asked.push(headers);
      this.streams.push(stream);
      stream.on("error", () => {});
      stream.respond({ ":status": this.status }, { endStream: this.status !== 200 });
      if (this.status !== 200) return;
      stream.on("data", (chunk: Buffer) => stream.write(chunk));
      stream.on("end", () => stream.end());
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    const address = this.#server.address();
    return address !== null && typeof address !== "string" ? address.port : 0;
  }

  forget(): void {
    this.asked.length = 0;
    this.sessions.length = 0;
    this.streams.length = 0;
    this.status = 200;
  }

  close(): void {
    this.#server.close();
    for (const { session } of this.sessions) session.destroy();
  }
}

const backends = ["portable", "epoll"] as const;
const running: RunningPlane[] = [];
const doors = new Map<string, { readonly out: number; readonly inside: number }>();
let own: { readonly client: Credentials; readonly server: Credentials };
let ztunnel: ScriptedZtunnel;
let echo: EchoServer;

before(async () => {
  const authority = await makeTestAuthority();
  const credentials = async (name: string): Promise<Credentials> => ({
    rootPem: authority.rootPem,
    certificate: await authority.issue({ uris: [`spiffe://cluster.local/ns/default/sa/${name}`] }),
  });
  own = { client: await credentials("client"), server: await credentials("server") };
  ztunnel = new ScriptedZtunnel(own.server);
  const remote = await ztunnel.listen();
  echo = await EchoServer.start();
  for (const name of backends) {
    const ports = { out: await freePort(), inside: await freePort() };
    doors.set(name, ports);
    const connection_keepalive = { interval: "0.2s", timeout: "5s" };
    const upstream = {
      typed_extension_protocol_options: http2Options({ connection_keepalive }),
      transport_socket: secured("Upstream", own.client),
    };
    const tunnel = tunnelTo("10.0.0.7:9080", [["baggage", baggage]]);
    const manager = connectManager([{ domains: [`127.0.0.1:${echo.port}`], cluster: "echo" }]);
    const inside = { transport_socket: secured("Downstream", own.server), filters: [manager] };
    const bootstrap = {
      static_resources: {
        listeners: [
          listener("out", ports.out, { filters: [tcpFilter("ztunnel", tunnel)] }),
          listener("inside", ports.inside, inside),
        ],
        clusters: [
          staticCluster("ztunnel", socketAddress(remote), upstream),
          staticCluster("echo", socketAddress(echo.port)),
        ],
      },
    };
    running.push(await startPlane(name, bootstrap, ports.out));
  }
});

after(async () => {
  for (const plane of running) await plane.close();
  ztunnel.close();
  echo.close();
});

function outOf(name: string): number {
  return doors.get(name)?.out ?? 0;
}

async function connect(name: string): Promise<http2.ClientHttp2Session> {
  const { rootPem, certificate } = own.client;
  const session = http2.connect(`https://127.0.0.1:${doors.get(name)?.inside}`, {
    key: certificate.privateKeyPem,
    cert: certificate.chainPem,
    ca: rootPem,
    checkServerIdentity: () => undefined,
  });
  session.on("error", () => {});
  await once(session, "remoteSettings");
  return session;
}

interface Asked {
  readonly stream: http2.ClientHttp2Stream;
  text: string;
  status: number;
  hasEnded: boolean;
  code: number | undefined;
}

function open(session: http2.ClientHttp2Session, authority: string): Asked {
  const stream = session.request({ ":method": "CONNECT", ":authority": authority, baggage });
  const asked: Asked = { stream, text: "", status: 0, hasEnded: false, code: undefined };
  stream.on("response", (headers) => (asked.status = headers[":status"] ?? 0));
  stream.on("data", (chunk: Buffer) => (asked.text += chunk.toString("latin1")));
  stream.on("end", () => (asked.hasEnded = true));
  stream.on("close", () => (asked.code = stream.rstCode));
  stream.on("error", () => {});
  return asked;
}

for (const name of backends) {
  test(`asks as ztunnel is asked, and answers PINGs: ${name}`, async () => {
    ztunnel.forget();
    const client = new Client(outOf(name));
    client.say("hello");
    await client.hears("hello");
    const [asked] = ztunnel.asked;
    const {
      ":method": method,
      ":authority": authority,
      ":path": path,
      ":scheme": scheme,
    } = asked ?? {};
    assert.deepEqual(
      [method, authority, path, scheme],
      ["CONNECT", "10.0.0.7:9080", undefined, undefined],
    );
    assert.equal(asked?.["baggage"], baggage);
    const [entry] = ztunnel.sessions;
    await new Promise<void>((resolve, reject) => {
      entry?.session.ping((error) => (error === null ? resolve() : reject(error)));
    });
    // And it asks by itself whether the other end is there.
    await until(() => (entry?.pings ?? 0) >= 2, "PINGs");
    client.close();
  });

  test(`no connection carries more than a hundred streams: ${name}`, async () => {
    ztunnel.forget();
    const clients = Array.from({ length: 250 }, () => new Client(outOf(name)));
    for (const [i, client] of clients.entries()) client.say(`I am ${i}`);
    for (const [i, client] of clients.entries()) await client.hears(`I am ${i}`);
    const sessions = new Map<unknown, number>();
    for (const { session } of ztunnel.streams) {
      sessions.set(session, (sessions.get(session) ?? 0) + 1);
    }
    assert.deepEqual(
      [...sessions.values()].toSorted((a, b) => a - b),
      [50, 100, 100],
    );
    for (const client of clients) client.close();
    await until(() => ztunnel.streams.every(({ closed }) => closed), "the streams are closed");
  });

  test(`a farewell leaves tunnels alone, and the next goes elsewhere: ${name}`, async () => {
    ztunnel.forget();
    const first = new Client(outOf(name));
    first.say("one");
    await first.hears("one");
    for (const { session } of ztunnel.streams) session?.goaway(0);
    const { session } = ztunnel.streams[0] ?? {};
    first.say(" two");
    await first.hears("one two");
    const second = new Client(outOf(name));
    second.say("three");
    await second.hears("three");
    assert.notEqual(ztunnel.streams[1]?.session, session);
    first.close();
    second.close();
    await until(() => ztunnel.streams.every(({ closed }) => closed), "the streams are closed");
  });

  test(`a refusal reaches the client as a broken connection, as does a lost one: ${name}`, async () => {
    ztunnel.forget();
    ztunnel.status = 503;
    const refused = new Client(outOf(name));
    refused.say("hello");
    await refused.closes();
    assert.equal(refused.text, "");
    ztunnel.status = 200;
    const lost = new Client(outOf(name));
    lost.say("hello");
    await lost.hears("hello");
    ztunnel.streams.at(-1)?.session?.destroy();
    await lost.ends();
    lost.close();
  });

  test(`either side may end first, and hears the other out: ${name}`, async () => {
    ztunnel.forget();
    const client = new Client(outOf(name));
    client.say("hello");
    await client.hears("hello");
    const [stream] = ztunnel.streams;
    let heard = "";
    stream?.on("data", (chunk: Buffer) => (heard += chunk.toString("latin1")));
    stream?.end();
    await client.ends();
    client.say(" still");
    await until(() => heard.endsWith(" still"), "what comes after the server's end");
    client.end();
    await until(() => stream?.closed === true, "the stream is closed");
  });

  test(`serves ztunnel: raw bytes behind 200, to the end of either: ${name}`, async () => {
    const session = await connect(name);
    const tunnel = open(session, `127.0.0.1:${echo.port}`);
    tunnel.stream.write("hello");
    await until(() => tunnel.text === "hello", "the echo");
    assert.equal(tunnel.status, 200);
    tunnel.stream.end(" bye");
    await until(() => tunnel.hasEnded, "the end");
    assert.equal(tunnel.text, "hello bye");
    await until(() => echo.open === 0, "the server's connection is closed");
    session.close();
  });

  test(`nothing but what is configured is reached: ${name}`, async () => {
    const session = await connect(name);
    const forbidden = [
      "169.254.169.254:80",
      "127.0.0.1:15000",
      "[::1]:80",
      "10.0.0.1:443",
      "metadata:80",
      "0:0",
    ];
    for (const authority of forbidden) {
      const tunnel = open(session, authority);
      await until(
        () => tunnel.status !== 0 || tunnel.code !== undefined,
        `an answer for ${authority}`,
      );
      assert.equal(tunnel.status, 404, authority);
    }
    session.close();
  });

  test(`a hundred streams at once, and no more: ${name}`, async () => {
    const session = await connect(name);
    assert.equal(session.remoteSettings.maxConcurrentStreams, 100);
    const tunnels = Array.from({ length: 100 }, () => open(session, `127.0.0.1:${echo.port}`));
    for (const { stream } of tunnels) stream.write("hello");
    for (const tunnel of tunnels) await until(() => tunnel.text === "hello", "the echo");
    assert.equal(echo.open, 100);
    session.destroy();
    await until(() => echo.open === 0, "the server's connections are closed");
  });
}
