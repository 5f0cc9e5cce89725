import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, statSync } from "node:fs";
import type { ServerResponse } from "node:http";
import net, { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { promisify } from "node:util";

import { listenHttp } from "./http-listener.ts";

const connectionsMax = 512;
/** Node's own. */
const listen: unknown = Reflect.get(net.Server.prototype, "listen");

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

test("listenHttp() lets nobody in before a Unix socket is its owner's alone", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-http-listener-"));
  const mask = process.umask(0);
  t.after(() => {
    process.umask(mask);
    rmSync(folder, { recursive: true });
  });
  // A folder that keeps nobody away.
  chmodSync(folder, 0o777);
  const socketPath = join(folder, "admin.sock");
  const modes = new Set<number>();
  const look = (): void => {
    const found = statSync(socketPath, { throwIfNoEntry: false });
    if (found !== undefined) modes.add(found.mode & 0o777);
  };
  const listened = t.mock.method(
    net.Server.prototype,
    "listen",
    function (this: net.Server, ...given: readonly unknown[]) {
      assert.ok(typeof listen === "function");
      Reflect.apply(listen, this, given);
      look();
      return this;
    },
  );
  const listener = await listenHttp({ socketPath }, (_request, response) => response.end());
  t.after(() => listener.close());
  look();
  assert.equal(listened.mock.callCount(), 1);
  assert.deepEqual([...modes], [0o600]);
  assert.equal(process.umask(), 0);
});

test("listenHttp() refuses a Unix socket to its own process, where it is told to", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-http-listener-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const socketPath = join(folder, "admin.sock");
  let asked = 0;
  const listener = await listenHttp({ socketPath, refusesOwnProcess: true }, (_, response) => {
    asked++;
    response.end("done");
  });
  t.after(() => listener.close());
  const own = connect(socketPath);
  own.on("error", () => {});
  own.write(get("/"));
  await new Promise((resolve) => own.resume().once("close", resolve));
  assert.equal(asked, 0);
  const client = `require("node:http").get({ socketPath: ${JSON.stringify(socketPath)} }, (response) => response.pipe(process.stdout))`;
  const { stdout } = await promisify(execFile)(process.execPath, ["-e", client]);
  assert.equal(stdout, "done");
});
