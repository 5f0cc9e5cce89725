/** A proxy that is asked to end, on both I/O backends: nothing that was begun is lost. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, Agent, request, type IncomingMessage, type Server } from "node:http";
import { connect, type AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";

import { type ProxyProcess, startProxyProcess } from "../../support/proxy-process.ts";

interface Answer {
  readonly status: number | undefined;
  readonly connection: string | undefined;
  readonly body: string;
}

let application: Server;
let applicationPort: number;

before(async () => {
  application = createServer((incoming, outgoing) => {
    const afterMs = Number(incoming.headers["x-after-ms"] ?? 0);
    setTimeout(() => outgoing.end("served"), afterMs).unref();
  });
  application.listen(0, "127.0.0.1");
  await once(application, "listening");
  // A TCP server's address, once it listens on a port.
  applicationPort = (application.address() as AddressInfo).port;
});

after(() => {
  application.closeAllConnections();
  application.close();
});

const kinds = [
  { name: "portable", io: "portable", workers: "0" },
  { name: "epoll", io: "epoll", workers: "0" },
  { name: "epoll, two data workers", io: "epoll", workers: "2" },
] as const;

for (const { name, io, workers } of kinds) {
  const start = (...args: readonly string[]): Promise<ProxyProcess> =>
    startProxyProcess({ io, applicationPort, args: ["--concurrency", workers, ...args] });
  describe(`SIGTERM, ${name}`, () => {
    test("what is idle may go on once, what is in flight ends, and nothing is refused at first", async () => {
      const proxy = await start();
      const idle = new Agent({ keepAlive: true, maxSockets: 1 });
      const busy = new Agent({ keepAlive: true, maxSockets: 1 });
      try {
        assert.equal((await ask(proxy, idle)).connection, undefined);
        const inFlight = ask(proxy, busy, 1500);
        await pause(100);
        proxy.signal("SIGTERM");
        await pause(500);
        const used = await ask(proxy, idle);
        assert.deepEqual(used, { status: 200, connection: "close", body: "served" });
        const fresh = await ask(proxy, new Agent());
        assert.deepEqual(fresh, { status: 200, connection: "close", body: "served" });
        assert.deepEqual(await inFlight, { status: 200, connection: "close", body: "served" });
        assert.equal(await proxy.exited, 0);
      } finally {
        await proxy.stop();
      }
    });

    test("an idle connection ends when it was quiet, and what never ends is cut off in time", async () => {
      const proxy = await start("--drain-time-s", "2");
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      try {
        await ask(proxy, agent);
        const endless = ask(proxy, new Agent(), 60_000).then(
          () => "answered",
          (error: Error) => error.message,
        );
        await pause(50);
        const startMs = performance.now();
        proxy.signal("SIGTERM");
        assert.equal(await proxy.exited, 0);
        const tookMs = performance.now() - startMs;
        assert.ok(tookMs > 1900 && tookMs < 4000, `${tookMs} ms`);
        assert.match(await endless, /hang up|ECONNRESET/);
      } finally {
        await proxy.stop();
      }
    });

    test("a load on kept and on fresh connections loses nothing until the sockets close", async () => {
      const proxy = await start("--drain-time-s", "4");
      const kept = new Agent({ keepAlive: true, maxSockets: 16 });
      const failures: string[] = [];
      const asked: Promise<unknown>[] = [];
      const note = (error: Error): void => void failures.push(error.message);
      const ticker = setInterval(() => {
        for (let i = 0; i < 4; i++) asked.push(ask(proxy, kept).catch(note));
        asked.push(ask(proxy, new Agent()).catch(note));
      }, 10);
      try {
        await pause(500);
        proxy.signal("SIGTERM");
        await pause(1700);
        clearInterval(ticker);
        await Promise.all(asked);
        assert.deepEqual(failures, []);
        assert.ok(asked.length > 400, `${asked.length} requests`);
        assert.equal(await proxy.exited, 0);
      } finally {
        clearInterval(ticker);
        await proxy.stop();
      }
    });
  });
}

test("/healthcheck/fail and /drain_listeners end connections with their answers", async () => {
  const proxy = await startProxyProcess({ io: "portable", applicationPort });
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  try {
    await proxy.admin("/healthcheck/fail", "POST");
    assert.match(await proxy.admin("/ready"), /^DRAINING/);
    assert.equal((await ask(proxy, agent)).connection, "close");
    await proxy.admin("/healthcheck/ok", "POST");
    assert.equal((await ask(proxy, agent)).connection, undefined);
    await proxy.admin("/drain_listeners", "POST");
    assert.equal((await ask(proxy, agent)).connection, "close");
    const refused = connect(proxy.port, "127.0.0.1");
    const [error]: Error[] = await once(refused, "error");
    assert.match(String(error), /ECONNREFUSED/);
  } finally {
    await proxy.stop();
  }
});

async function ask(proxy: ProxyProcess, agent: Agent, afterMs = 0): Promise<Answer> {
  const headers = { "x-after-ms": String(afterMs) };
  const asking = request({ port: proxy.port, host: "127.0.0.1", agent, headers });
  const answered = once(asking, "response");
  asking.end();
  const [response]: IncomingMessage[] = await answered;
  assert.ok(response !== undefined);
  let body = "";
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode, connection: response.headers.connection, body };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
