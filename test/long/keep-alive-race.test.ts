/**
 * A backend closes connections that were idle for five seconds; the proxy keeps such connections for
 * the next request. Requests that meet around the edge must not fail: where the backend says how long
 * it waits, the proxy leaves first, whatever the method; where it does not, what can be sent again is.
 */
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { startHeddle } from "../conformance/http1/servers.ts";

const backendIdleMs = 5000;
const clients = 250;
const rounds = 20;

interface Backend {
  readonly port: number;
  readonly connections: () => number;
  close(): void;
}

async function startBackend(saysHowLong: boolean): Promise<Backend> {
  let connections = 0;
  const server = http.createServer((request, response) => {
    request.resume();
    request.on("end", () => {
      // With a Connection of our own Node adds no Keep-Alive.
      if (!saysHowLong) response.setHeader("connection", "keep-alive");
      response.end("ok");
    });
  });
  server.keepAliveTimeout = backendIdleMs;
  // To the point: Node would otherwise wait a second longer than it says.
  server.keepAliveTimeoutBuffer = 0;
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", 2000, resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return {
    port: address.port,
    connections: () => connections,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

/** One client's connection, kept; `ask` resolves with the status. */
function openClient(port: number): { ask(text: string): Promise<number>; close(): void } {
  const socket = net.connect(port, "127.0.0.1");
  socket.setNoDelay(true);
  let received = "";
  let answered: ((status: number) => void) | undefined;
  const finish = (status: number): void => {
    received = "";
    answered?.(status);
  };
  socket.on("data", (chunk) => {
    received += chunk.toString("latin1");
    // Answers of the backend end with this, those of the proxy have another status.
    const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(received)?.[1] ?? 0);
    if (received.endsWith("\r\n\r\nok") || (status !== 200 && status !== 0)) finish(status);
  });
  socket.on("error", () => finish(0));
  socket.on("close", () => finish(0));
  return {
    ask: (text) =>
      new Promise((resolve) => {
        answered = resolve;
        socket.write(text);
      }),
    close: () => socket.destroy(),
  };
}

async function runClient(
  port: number,
  index: number,
  ...[methods, statuses]: [methods: readonly string[], statuses: Map<string, number>]
): Promise<void> {
  const client = openClient(port);
  for (let round = 0; round < rounds; round++) {
    const method = methods[(index + round) % methods.length] ?? "GET";
    const length = method === "POST" ? "content-length: 2\r\n" : "";
    const body = method === "POST" ? "hi" : "";
    const status = await client.ask(`${method} / HTTP/1.1\r\nhost: a\r\n${length}\r\n${body}`);
    const key = `${method} ${status}`;
    statuses.set(key, (statuses.get(key) ?? 0) + 1);
    // From 60 ms before the backend's farewell to 60 ms after it, each client at its own moment.
    const gapMs = backendIdleMs - 60 + ((index * 7 + round * 13) % 120);
    if (round < rounds - 1) await sleep(gapMs);
  }
  client.close();
}

const cases = [
  { name: "that says how long it waits", saysHowLong: true, methods: ["GET", "POST"] },
  { name: "that says nothing", saysHowLong: false, methods: ["GET", "PUT", "DELETE"] },
] as const;

test("no request fails around a backend's idle timeout", { concurrency: true }, async (t) => {
  const runs = (["portable", "epoll"] as const).flatMap((io) =>
    cases.map(({ name, saysHowLong, methods }) =>
      t.test(`a backend ${name} (${io})`, async (context) => {
        const backend = await startBackend(saysHowLong);
        // A second is over before a busy machine has looked at a connection that is made at once.
        const heddle = await startHeddle(backend.port, io, { connectTimeoutMs: 30_000 });
        const statuses = new Map<string, number>();
        const all = Array.from({ length: clients }, (_, index) =>
          runClient(heddle.port, index, methods, statuses),
        );
        await Promise.all(all);
        await heddle.close();
        backend.close();
        context.diagnostic(`${backend.connections()} connections; ${[...statuses].join("; ")}`);
        const failed = [...statuses].filter(([key]) => !key.endsWith(" 200"));
        assert.deepEqual(failed, []);
        const answered = [...statuses.values()].reduce((sum, count) => sum + count, 0);
        assert.equal(answered, clients * rounds);
      }),
    ),
  );
  await Promise.all(runs);
});
