/** A proxy that is asked to end, on both I/O backends: nothing that was begun is lost. */
import assert from "node:assert/strict";
import { once } from "node:events";
import {
  Agent,
  createServer,
  request,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
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
/** Requests that the application has and does not answer until the test says so. */
const held: ServerResponse[] = [];
let onHeld: () => void = () => {};

before(async () => {
  application = createServer((incoming, outgoing) => {
    if (incoming.headers["x-hold"] === undefined) return void outgoing.end("served");
    held.push(outgoing);
    onHeld();
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
      // It ends when it is quiet, which is long before.
      const proxy = await start("--drain-time-s", "60");
      const idle = new Agent({ keepAlive: true, maxSockets: 1 });
      try {
        assert.equal((await ask(proxy, idle)).connection, undefined);
        const { answer, release } = await askHeld(proxy);
        await terminate(proxy);
        const last = { status: 200, connection: "close", body: "served" };
        assert.deepEqual(await untilLast(proxy, () => idle), last);
        assert.deepEqual(await untilLast(proxy, () => new Agent()), last);
        release();
        assert.deepEqual(await answer, last);
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
        const { answer } = await askHeld(proxy);
        const endless = answer.then(
          () => "answered",
          (error: Error) => error.message,
        );
        const startMs = performance.now();
        proxy.signal("SIGTERM");
        assert.equal(await proxy.exited, 0);
        const tookMs = performance.now() - startMs;
        assert.ok(tookMs > 1900, `${tookMs} ms`);
        assert.match(await endless, /hang up|ECONNRESET/);
      } finally {
        await proxy.stop();
      }
    });

    test("a load on kept and on fresh connections loses nothing until the sockets close", async () => {
      // So long that the sockets are open for as long as the load lasts, however slow the machine is.
      const proxy = await start("--drain-time-s", "60");
      const kept = new Agent({ keepAlive: true, maxSockets: 16 });
      const failures: string[] = [];
      const asked: Promise<unknown>[] = [];
      const note = (error: Error): void => void failures.push(error.message);
      const ticker = setInterval(() => {
        for (let i = 0; i < 4; i++) asked.push(ask(proxy, kept).catch(note));
        asked.push(ask(proxy, new Agent()).catch(note));
      }, 10);
      const untilAsked = async (count: number): Promise<void> => {
        while (asked.length < count) await pause(10);
        await Promise.all(asked.slice(0, count));
      };
      try {
        await untilAsked(200);
        await terminate(proxy);
        await untilAsked(asked.length + 400);
        clearInterval(ticker);
        await Promise.all(asked);
        assert.deepEqual(failures.slice(0, 10), []);
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

async function ask(
  proxy: ProxyProcess,
  agent: Agent,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const asking = request({ port: proxy.port, host: "127.0.0.1", agent, headers });
  const answered = once(asking, "response");
  asking.end();
  const [response]: IncomingMessage[] = await answered;
  assert.ok(response !== undefined);
  let body = "";
  for await (const chunk of response) body += String(chunk);
  return { status: response.statusCode, connection: response.headers.connection, body };
}

/** Resolves when the application has the request. */
async function askHeld(
  proxy: ProxyProcess,
): Promise<{ readonly answer: Promise<Answer>; readonly release: () => void }> {
  const isHeld = new Promise<void>((resolve) => (onHeld = resolve));
  const answer = ask(proxy, new Agent({ keepAlive: true }), { "x-hold": "1" });
  answer.catch(() => {}); // seen by whoever waits for it
  await isHeld;
  const outgoing = held.pop();
  return { answer, release: () => void outgoing?.end("served") };
}

/** The first answer that ends its connection: each data worker hears of the end a moment later. */
async function untilLast(proxy: ProxyProcess, agentOf: () => Agent): Promise<Answer> {
  for (;;) {
    const answer = await ask(proxy, agentOf());
    if (answer.status !== 200 || answer.connection === "close") return answer;
  }
}

/** Resolves when the proxy has begun to drain. */
async function terminate(proxy: ProxyProcess): Promise<void> {
  proxy.signal("SIGTERM");
  while (!proxy.log().includes("draining")) await pause(5);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
