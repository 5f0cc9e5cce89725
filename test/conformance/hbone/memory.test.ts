/**
 * Tunnels whose far ends do not read, in either direction: what waits for them is bounded, the proxy's
 * memory stays within 64 MB of what it takes when idle, and another tunnel is served meanwhile.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http2 from "node:http2";
import net from "node:net";
import { test, type TestContext } from "node:test";

import { sidecarFlags } from "../../../src/local/run/sidecar-process.ts";
import { type ProxyProcess, startProxyProcess } from "../../support/proxy-process.ts";
import { EchoServer, until } from "./planes.ts";

const growthBytesMax = 64 * 1024 * 1024;
const connections = 4;
const tunnelsEach = 100;
const bytesEach = 1024 * 1024;

/** Counts those that come; never reads, or never stops to write. */
async function farEnd(t: TestContext, kind: "sink" | "flood"): Promise<net.Server> {
  const open = new Set<net.Socket>();
  const piece = Buffer.alloc(65_536, "x");
  const server = net.createServer({ pauseOnConnect: kind === "sink" }, (socket) => {
    open.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => open.delete(socket));
    if (kind === "sink") return;
    let left = bytesEach;
    const more = (): void => {
      while (left > 0) {
        left -= piece.length;
        if (!socket.write(piece)) return void socket.once("drain", more);
      }
    };
    more();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.close();
    for (const socket of open) socket.destroy();
  });
  return server;
}

function portOf(server: net.Server): number {
  const address = server.address();
  return address !== null && typeof address !== "string" ? address.port : 0;
}

function connectRoute(cluster: string): object {
  return {
    name: cluster,
    domains: [`${cluster}:80`],
    routes: [
      {
        match: { connect_matcher: {} },
        route: { cluster, upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }] },
      },
    ],
  };
}

async function open(
  session: http2.ClientHttp2Session,
  authority: string,
): Promise<http2.ClientHttp2Stream> {
  const stream = session.request({ ":method": "CONNECT", ":authority": authority });
  stream.on("error", () => {});
  const [headers] = await once(stream, "response");
  assert.equal(headers[":status"], 200);
  return stream;
}

for (const io of ["portable", "epoll"] as const) {
  for (const kind of ["sink", "flood"] as const) {
    test(`memory is bounded where ${kind === "sink" ? "servers" : "clients"} do not read: ${io}`, async (t) => {
      const far = await farEnd(t, kind);
      const echo = await EchoServer.start();
      t.after(() => echo.close());
      const proxy: ProxyProcess = await startProxyProcess({
        io,
        flags: sidecarFlags,
        applicationPort: echo.port,
        clusters: { far: portOf(far) },
        manager: {
          http2_protocol_options: { allow_connect: true, max_concurrent_streams: tunnelsEach },
          route_config: { virtual_hosts: [connectRoute("app"), connectRoute("far")] },
        },
      });
      t.after(() => proxy.stop());
      const honest = http2.connect(`http://127.0.0.1:${proxy.port}`);
      t.after(() => honest.destroy());
      // Idle is who has compiled what it does: that comes to 10 MB, and not at a time of our choosing.
      for (let i = 0; i < 300; i++) await speak(honest);
      const idle = proxy.memory().resident;
      const sessions = Array.from({ length: connections }, () =>
        http2.connect(`http://127.0.0.1:${proxy.port}`),
      );
      let most = 0;
      for (const session of sessions) {
        session.on("error", () => {});
        t.after(() => session.destroy());
        const streams = Array.from({ length: tunnelsEach }, () => open(session, "far:80"));
        for (const stream of await Promise.all(streams)) {
          if (kind === "sink") stream.write(Buffer.alloc(bytesEach));
          most = Math.max(most, proxy.memory().resident);
        }
        await speak(honest);
      }
      const deadline = Date.now() + 1500;
      while (Date.now() < deadline) {
        await speak(honest);
        most = Math.max(most, proxy.memory().resident);
      }
      const growth = most - idle;
      t.diagnostic(`${Math.round(growth / 1024 / 1024)} MB`);
      assert.ok(growth <= growthBytesMax, `${Math.round(growth / 1024 / 1024)} MB`);
      for (const session of sessions) session.destroy();
      await until(() => areClosed(sessions), "the connections are closed");
      await speak(honest);
      assert.doesNotMatch(proxy.log(), /Error|FATAL/);
    });
  }
}

function areClosed(all: readonly http2.ClientHttp2Session[]): boolean {
  return all.every(({ closed, destroyed }) => closed || destroyed);
}

/** Through a tunnel of its own, on a connection of its own. */
async function speak(session: http2.ClientHttp2Session): Promise<void> {
  const stream = await open(session, "app:80");
  stream.end("hello");
  let text = "";
  for await (const chunk of stream) text += String(chunk);
  assert.equal(text, "hello");
}
