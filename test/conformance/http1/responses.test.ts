/** What an application answers wrongly, against Heddle on both backends and against Envoy. */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";

import { readKnownDifferences } from "./known-differences.ts";
import { type ResponseProbe, responseProbes } from "./responses.ts";
import { ask, type Asked, startEnvoyFor, startHeddle } from "./servers.ts";

const proxies = new Map<string, Asked>();
const outcomes = new Map<string, readonly string[]>();
const sockets = new Set<net.Socket>();
let server: net.Server;

before(async () => {
  server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk.toString("latin1");
      for (;;) {
        const end = received.indexOf("\r\n\r\n");
        if (end < 0) return;
        answer(socket, received.slice(0, end));
        received = received.slice(end + 4);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const { port } = address;
  for (const io of ["portable", "epoll"] as const) proxies.set(io, await startHeddle(port, io));
  const envoy = await startEnvoyFor(port);
  assert.ok(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  proxies.set("envoy", envoy);
});

after(async () => {
  for (const proxy of proxies.values()) await proxy.close();
  for (const socket of sockets) socket.destroy();
  server.close();
});

function answer(socket: net.Socket, head: string): void {
  const id = /^[A-Z]+ \/(\S*) /.exec(head)?.[1];
  const probe = responseProbes.find((one) => one.id === id);
  if (probe === undefined) {
    socket.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nafter", "latin1");
  } else if (probe.closes) socket.end(Buffer.from(probe.bytes, "latin1"));
  else socket.write(Buffer.from(probe.bytes, "latin1"));
}

/** What the client has of it, and what the next request gets. */
async function outcomeOf({ port }: Asked, { id, method }: ResponseProbe): Promise<string> {
  const request = `${method} /${id} HTTP/1.1\r\nHost: a\r\n\r\n`;
  const { statuses, text } = await ask(port, request, {
    waitMs: 800,
    settleMs: 50,
    isEnough: (received) => isWhole(received, method),
  });
  const next = await ask(port, "GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
  const after = next.text.endsWith("\r\n\r\nafter") ? "" : `, then ${next.text}`;
  const [status = "closed"] = statuses;
  return `${status} ${isWhole(text, method) ? "whole" : "broken"}${after}`;
}

/** Of the final answer; what is delimited by the end of the connection is not expected here. */
function isWhole(text: string, method: string): boolean {
  const final = text.replace(/^(HTTP\/1\.1 1\d\d [^]*?\r\n\r\n)*/, "");
  const end = final.indexOf("\r\n\r\n");
  const [head, body] = [final.slice(0, end), final.slice(end + 4)];
  if (end < 0) return false;
  if (method === "HEAD" || /^HTTP\/1\.1 (204|304)/.test(head)) return body === "";
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  return length === undefined ? body.endsWith("0\r\n\r\n") : body.length === Number(length);
}

async function outcomesOf(name: string): Promise<readonly string[]> {
  const known = outcomes.get(name);
  if (known !== undefined) return known;
  const proxy = proxies.get(name);
  assert.ok(proxy !== undefined);
  const found: string[] = [];
  for (const probe of responseProbes) found.push(`${probe.id}: ${await outcomeOf(proxy, probe)}`);
  outcomes.set(name, found);
  return found;
}

const listed = new Set(readKnownDifferences().flatMap(({ responses }) => responses));

for (const io of ["portable", "epoll"] as const) {
  test(`heddle passes no answer on that two readers could read differently (${io})`, async () => {
    const expected = responseProbes.map(({ id, expect }) => `${id}: ${expect}`);
    assert.deepEqual(await outcomesOf(io), expected);
  });

  test(`heddle and Envoy agree on answers, but for known-differences.md (${io})`, async () => {
    const [own, theirs] = [await outcomesOf(io), await outcomesOf("envoy")];
    const different = responseProbes.filter((_, index) => own[index] !== theirs[index]);
    const unlisted = different.filter(({ id }) => !listed.has(id)).map(({ id }) => id);
    const lines = (all: readonly string[]): readonly string[] =>
      all.filter((line) => unlisted.some((id) => line.startsWith(`${id}:`)));
    assert.deepEqual(lines(own), lines(theirs), "actual: Heddle, expected: Envoy");
    const ids = new Set(different.map(({ id }) => id));
    assert.deepEqual(
      [...listed].filter((id) => !ids.has(id)),
      [],
      "listed, but the two agree",
    );
  });
}
