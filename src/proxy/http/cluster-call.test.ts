import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import {
  type CallAnswer,
  callCluster,
  type CallRequest,
  type RunningCall,
} from "./cluster-call.ts";

/** A call between a scripted cluster and whoever is told. */
class Asked {
  readonly mesh: HttpHarness;
  readonly told: string[] = [];
  readonly call: RunningCall;

  constructor(mesh: HttpHarness, request: Partial<CallRequest> = {}) {
    this.mesh = mesh;
    const asked: CallRequest = {
      cluster: "app",
      method: "GET",
      path: "/keys",
      authority: "keys.test",
      headers: [["accept", "application/json"]],
      body: undefined,
      timeoutMs: 1_000,
      answerBytesMax: 100,
      ...request,
    };
    this.call = callCluster(mesh.callServices, asked, {
      onAnswer: (answer) => void this.told.push(describe(answer)),
      onFailure: (reason) => void this.told.push(reason),
    });
  }
}

function describe({ status, head, body, ending }: CallAnswer): string {
  const end = ending === "whole" ? "" : ` (${ending})`;
  return `${status} ${head.joined("x-a") ?? "-"} ${body.toString()}${end}`;
}

test("callCluster() sends a whole request and tells the whole answer", () => {
  const mesh = new HttpHarness();
  const asked = new Asked(mesh, { method: "POST", body: Buffer.from("abc") });
  const upstream = mesh.upstream();
  assert.equal(
    upstream.take(),
    "POST /keys HTTP/1.1\r\nhost: keys.test\r\naccept: application/json\r\ncontent-length: 3\r\n\r\nabc",
  );
  upstream.send("HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 4\r\n\r\nye");
  assert.deepEqual(asked.told, []);
  upstream.send("ah");
  assert.deepEqual(asked.told, ["200 1 yeah"]);
  // A cluster whose servers prove to be whom requests name is told the name.
  assert.deepEqual(mesh.askedFor, ["keys.test"]);
  new Asked(mesh);
  assert.equal(mesh.upstreams.length, 1, "the connection is kept for the next");
  assert.deepEqual(
    mesh.outcomes.map(({ kind }) => kind),
    ["response"],
  );
  assert.equal(mesh.endpoints[0]?.active, 1);
});

test("callCluster() tells what went wrong, once, and leaves nothing behind", () => {
  const cases: readonly (readonly [reason: RegExp, happens: (mesh: HttpHarness) => void])[] = [
    [/^connect-failure$/, (mesh) => mesh.refuse()],
    [/^no answer in 1000 ms$/, (mesh) => mesh.clock.advance(1_100)],
    [/^the connection broke$/, (mesh) => mesh.upstream().close()],
    [/^the connection broke$/, (mesh) => mesh.upstream().send("SMTP\r\n\r\n")],
    [
      /^the answer has more than 100 bytes$/,
      (mesh) => mesh.upstream().send(`HTTP/1.1 200 OK\r\n\r\n${"a".repeat(101)}`),
    ],
    [
      /^the connection broke$/,
      (mesh) => mesh.upstream().send("HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    ],
  ];
  for (const [reason, happens] of cases) {
    const mesh = new HttpHarness();
    const asked = new Asked(mesh);
    happens(mesh);
    mesh.clock.advance(5_000);
    assert.equal(asked.told.length, 1, String(reason));
    assert.match(asked.told[0] ?? "", reason);
    assert.equal(mesh.endpoints[0]?.active, 0);
    assert.deepEqual(mesh.inUse, { ...mesh.inUse, pending: 0, request: 0 });
  }
});

test("callCluster() tells what has come of an answer to who takes that", () => {
  const begins = "HTTP/1.1 403 Forbidden\r\nx-a: 1\r\ncontent-length: 500\r\n\r\nno";
  const cases: readonly (readonly [told: string, happens: (mesh: HttpHarness) => void])[] = [
    [`403 1 no${"a".repeat(98)} (too-long)`, (mesh) => mesh.upstream().send("a".repeat(99))],
    ["403 1 no (broken)", (mesh) => mesh.upstream().close()],
    ["403 1 no (broken)", (mesh) => mesh.clock.advance(1_100)],
  ];
  for (const [told, happens] of cases) {
    const mesh = new HttpHarness();
    const asked = new Asked(mesh, { takesPart: true });
    mesh.upstream().send(begins);
    happens(mesh);
    mesh.clock.advance(5_000);
    assert.deepEqual(asked.told, [told]);
    assert.equal(mesh.upstream(0).isClosed, true);
    assert.equal(mesh.endpoints[0]?.active, 0);
    // Who has said too much has answered: that ejects nobody.
    const { kind } = mesh.outcomes.at(-1) ?? {};
    assert.equal(kind === "response", told.endsWith("(too-long)"), told);
  }
  const mesh = new HttpHarness();
  const asked = new Asked(mesh, { takesPart: true });
  mesh.upstream().send("HTTP/1.1 403 Forb");
  mesh.upstream().close();
  assert.deepEqual(asked.told, ["the connection broke"]);
});

test("callCluster() says that there is no such cluster, or that it is full", () => {
  assert.deepEqual(new Asked(new HttpHarness(), { cluster: "none" }).told, [
    "there is no cluster none",
  ]);
  assert.deepEqual(new Asked(new HttpHarness({ limits: { pending: 0 } })).told, ["overflow"]);
});

test("cancel() silences a call in every state", () => {
  const mesh = new HttpHarness();
  const early = new Asked(mesh);
  early.call.cancel();
  const late = new Asked(mesh);
  const upstream = mesh.upstream();
  late.call.cancel();
  assert.equal(upstream.isClosed, true, "its answer belongs to nobody");
  mesh.clock.advance(5_000);
  assert.deepEqual([...early.told, ...late.told], []);
  assert.equal(mesh.endpoints[0]?.active, 0);
});

test("callCluster() asks again where a kept connection closed before it answered", () => {
  const mesh = new HttpHarness();
  new Asked(mesh);
  mesh.upstream().send("HTTP/1.1 204 No Content\r\n\r\n");
  const asked = new Asked(mesh);
  assert.equal(mesh.upstreams.length, 1);
  mesh.upstream().close();
  assert.deepEqual(asked.told, []);
  mesh.upstream().send("HTTP/1.1 204 No Content\r\n\r\n");
  assert.deepEqual(asked.told, ["204 - "]);
});
