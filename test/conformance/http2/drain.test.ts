/**
 * How connections of HTTP/2 end with their proxy, in two steps: what a client sends before it has heard the
 * first is served, and what is in flight ends. On both backends, with two data workers, and over a restart.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http, { type ServerResponse } from "node:http";
import http2 from "node:http2";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { type ProxyProcess, startProxyProcess } from "../../support/proxy-process.ts";
import { RawClient } from "./raw-client.ts";
import { get } from "./scenarios.ts";

const held = new Map<string, ServerResponse>();
const application = http.createServer((request, response) => {
  const path = request.url ?? "";
  if (path.startsWith("/held")) held.set(path, response);
  else response.end("served");
});

before(async () => {
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
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

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!isSo()) {
    assert.ok(performance.now() < deadline, what);
    await sleep(5);
  }
}

const seen = (client: RawClient, event: string): Promise<void> =>
  until(`${event} did not come`, () => client.events.includes(event));

async function connect(port: number): Promise<RawClient> {
  const client = await RawClient.connect(port);
  client.begin();
  client.request(1, get("/"));
  await seen(client, "END 1");
  return client;
}

let turn = 0;

for (const { name, io, workers } of kinds) {
  const start = (...args: readonly string[]): Promise<ProxyProcess> => {
    const { port: applicationPort } = application.address() as AddressInfo;
    return startProxyProcess({
      io,
      applicationPort,
      args: ["--concurrency", workers, ...args],
      manager: { codec_type: "AUTO", drain_timeout: "0.3s" },
    });
  };

  describe(`HTTP/2 at its proxy's end, ${name}`, () => {
    test("what is in flight ends, what begins meanwhile is served, and then the process is over", async () => {
      const proxy = await start("--drain-time-s", "60");
      try {
        const client = await connect(proxy.port);
        const path = `/held${turn++}`;
        client.request(3, get(path));
        await until("nothing is asked", () => held.has(path));
        proxy.signal("SIGTERM");
        await until("it does not drain", () => proxy.log().includes("drain"));
        client.request(5, get("/"));
        await seen(client, "END 5");
        await seen(client, "GOAWAY 5 0");
        held.get(path)?.end("late");
        await seen(client, "END 3");
        await until("it is not closed", () => client.isClosed);
        const ends = client.events.filter((event) => /GOAWAY|RESET/.test(event));
        assert.deepEqual(ends, ["GOAWAY max 0", "GOAWAY 5 0"]);
        assert.equal(await proxy.exited, 0);
      } finally {
        await proxy.stop();
      }
    });

    test("an idle connection hears twice, and is served between", async () => {
      const proxy = await start("--drain-time-s", "60");
      try {
        const [idle, busy] = [await connect(proxy.port), await connect(proxy.port)];
        proxy.signal("SIGTERM");
        await seen(busy, "GOAWAY max 0");
        busy.request(3, get("/"));
        await seen(busy, "END 3");
        await until("they are not closed", () => idle.isClosed && busy.isClosed);
        const ends = (client: RawClient): readonly string[] =>
          client.events.filter((event) => /GOAWAY|RESET/.test(event));
        assert.deepEqual(ends(idle), ["GOAWAY max 0", "GOAWAY 1 0"]);
        assert.deepEqual(ends(busy), ["GOAWAY max 0", "GOAWAY 3 0"]);
        assert.equal(await proxy.exited, 0);
      } finally {
        await proxy.stop();
      }
    });
  });
}

/** Asks one request after another, on a new connection where the one in hand says farewell; how many were answered. */
async function askOn(port: number, mayStop: () => boolean): Promise<number> {
  let client: http2.ClientHttp2Session | undefined;
  let answered = 0;
  while (!mayStop() || answered === 0) {
    if (client === undefined || client.closed || client.destroyed) {
      const begun = http2.connect(`http://127.0.0.1:${port}`);
      begun.on("goaway", () => begun.close());
      await once(begun, "connect");
      client = begun;
    }
    const stream = client.request({ ":path": "/" });
    let text = "";
    stream.on("data", (part: Buffer) => (text += part.toString("latin1")));
    await once(stream, "end");
    assert.equal(text, "served");
    answered++;
  }
  client?.close();
  return answered;
}

for (const workers of ["0", "2"]) {
  test(`HTTP/2 over a restart of the proxy: nothing is lost (epoll, ${workers} data workers)`, async (t) => {
    const { port: applicationPort } = application.address() as AddressInfo;
    const args = ["--supervised", "--concurrency", workers, "--drain-time-s", "2"];
    const proxy = await startProxyProcess({ io: "epoll", applicationPort, args });
    try {
      let isOver = false;
      const asking = Array.from({ length: 4 }, () => askOn(proxy.port, () => isOver));
      for (let restart = 0; restart < 2; restart++) {
        const drains = (): number => proxy.log().split("draining").length;
        const before = drains();
        proxy.signal("SIGHUP");
        await until(`no successor: ${proxy.log()}`, () => drains() > before);
      }
      isOver = true;
      const answered = await Promise.all(asking);
      t.diagnostic(`${answered.join(", ")} requests`);
      // The one that holds the sockets ends those that serve.
      proxy.signal("SIGTERM");
      await proxy.exited;
    } finally {
      await proxy.stop();
    }
  });
}
