import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import { listenHttp } from "./http-listener.ts";

const connectionsMax = 512;

async function open(t: TestContext, answer: (path: string, response: ServerResponse) => void) {
  const listener = await listenHttp({ address: "127.0.0.1", port: 0 }, (request, response) =>
    answer(request.url ?? "", response),
  );
  t.after(() => listener.close());
  const { port = 0 } = listener.address ?? {};
  return async (first = ""): Promise<Socket> => {
    const socket = connect({ host: "127.0.0.1", port });
    t.after(() => socket.destroy());
    socket.on("error", () => {});
    await once(socket, "connect");
    socket.write(first);
    return socket;
  };
}

function get(path: string): string {
  return `GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`;
}

async function statusOf(socket: Socket): Promise<string> {
  const [chunk] = await once(socket, "data");
  return String(chunk).split(" ")[1] ?? "";
}

test("listenHttp() answers whoever asks, however many connections say nothing", async (t) => {
  const dial = await open(t, (_path, response) => response.end("ready"));
  const held: Socket[] = [];
  for (let i = 0; i < connectionsMax + 100; i++) {
    held.push(await dial(i % 2 === 0 ? "" : "GET / HTTP/1.1\r\nX: "));
  }
  assert.equal(await statusOf(await dial(get("/"))), "200");
  const [first] = held;
  assert.ok(first !== undefined);
  if (!first.closed) await once(first, "close");
});

test("listenHttp() makes no room at the cost of an answer that is under way", async (t) => {
  const asked = Promise.withResolvers<ServerResponse>();
  const dial = await open(t, (path, response) => {
    if (path === "/slow") asked.resolve(response);
    else response.end();
  });
  const slow = await dial(get("/slow"));
  const response = await asked.promise;
  for (let i = 0; i < connectionsMax + 10; i++) await dial();
  assert.equal(await statusOf(await dial(get("/"))), "200");
  response.end("late");
  assert.equal(await statusOf(slow), "200");
});

test("listenHttp() makes a Unix socket for its owner alone", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-http-listener-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, "api.sock");
  const listener = await listenHttp({ socketPath }, (_request, response) => response.end());
  t.after(() => listener.close());
  assert.equal(listener.address, undefined);
  assert.equal(statSync(socketPath).mode & 0o777, 0o600);
});
