/**
 * Every message of the corpus, requests and answers, cut at every byte: what is forwarded and answered
 * is the same as when it comes in one piece. Between scripted channels, for a backend does no more than
 * deliver pieces.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { readCorpus } from "../../fuzz/corpus.ts";
import { readReference } from "../../fuzz/http1-reference.ts";
import { HttpHarness } from "../../support/http-harness.ts";
import type { ScriptedChannel } from "../../support/scripted-channel.ts";
import { probes } from "./probes.ts";
import { responseProbes } from "./responses.ts";

const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
/** Of longer messages the runs of filling between their ends are cut here and there only. */
const everyByteMax = 3000;
const edgeBytes = 400;
const strideBytes = 997;

function cutsOf(length: number): readonly number[] {
  const cuts: number[] = [];
  for (let at = 1; at < length; at++) {
    const isEdge = at < edgeBytes || at > length - edgeBytes;
    if (length <= everyByteMax || isEdge || at % strideBytes === 0) cuts.push(at);
  }
  return cuts;
}

/** Ids of requests and times differ by chance. */
function mask(text: string): string {
  return text
    .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}/g, "ID")
    .replaceAll(/\r\ndate: [^\r]*/g, "\r\ndate: NOW");
}

/** What a text says: chunks carry what arrived together, so their sizes may differ, their content not. */
function decode(text: string, kind: "request" | "response", isHead = false): unknown {
  const rules = { kind, isHead, headBytesMax: 1 << 20, fieldsMax: 1000 };
  const { messages, end } = readReference(mask(text), rules);
  return [messages.map(({ framing, ...message }) => [framing.split(" ", 1), message]), end];
}

/**
 * Lets upstreams answer until nothing more is sent. Returns what came of requests that were whole:
 * how much of one is sent that turns out to be malformed depends on when it does.
 */
function serve(mesh: HttpHarness): readonly string[] {
  const sent = new Map<ScriptedChannel, string>();
  for (let quiet = false; !quiet;) {
    quiet = true;
    for (let index = 0; index < mesh.upstreams.length; index++) {
      const app = mesh.upstream(index);
      const text = app.take();
      if (text === "") continue;
      sent.set(app, (sent.get(app) ?? "") + text);
      app.send(answer);
      quiet = false;
    }
  }
  return [...sent].filter(([app]) => !app.isClosed).map(([, text]) => text);
}

function requestOutcome(pieces: readonly string[]): string {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  for (const piece of pieces) {
    client.send(piece);
    for (let index = 0; index < mesh.upstreams.length; index++) mesh.upstream(index);
  }
  const sent = serve(mesh).map((text) => decode(text, "request"));
  const received = decode(client.take(), "response", pieces.join("").startsWith("HEAD"));
  const outcome = JSON.stringify([sent, received, client.hasEnded]);
  client.close();
  return outcome;
}

function responseOutcome(
  method: string,
  ...[pieces, closes]: [readonly string[], boolean]
): string {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(`${method} / HTTP/1.1\r\nHost: a\r\n\r\n`);
  mesh.upstream(0).take();
  const app = mesh.upstream(0);
  for (const piece of pieces) app.send(piece);
  if (closes) {
    app.sendEnd();
    app.close();
  }
  const first = decode(client.take(), "response", method === "HEAD");
  const isOpen = !client.hasEnded && !client.isClosed;
  if (isOpen) client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
  serve(mesh);
  const outcome = JSON.stringify([first, isOpen, decode(client.take(), "response")]);
  client.close();
  return outcome;
}

function check(
  id: string,
  bytes: string,
  outcomeOf: (pieces: readonly string[]) => string,
): string | undefined {
  const whole = outcomeOf([bytes]);
  for (const cut of cutsOf(bytes.length)) {
    const cutOutcome = outcomeOf([bytes.slice(0, cut), bytes.slice(cut)]);
    if (cutOutcome !== whole) return `${id} cut at ${cut}: ${cutOutcome}, not ${whole}`;
  }
  if (bytes.length === 0) return undefined;
  const single = outcomeOf(bytes.split(""));
  return single === whole ? undefined : `${id} byte by byte: ${single}, not ${whole}`;
}

test("requests come to the same, wherever they are cut", () => {
  const wrong = probes.map(({ id, bytes }) => check(id, bytes, requestOutcome));
  assert.deepEqual(
    wrong.filter((one) => one !== undefined),
    [],
  );
});

test("answers come to the same, wherever they are cut", () => {
  const wrong = responseProbes.map(({ id, method, bytes, closes }) =>
    check(id, bytes, (pieces) => responseOutcome(method, pieces, closes)),
  );
  assert.deepEqual(
    wrong.filter((one) => one !== undefined),
    [],
  );
});

test("searched requests and answers come to the same, wherever they are cut", () => {
  const wrong: string[] = [];
  for (const input of readCorpus(join(import.meta.dirname, "../../fuzz/corpus/http1.txt"))) {
    const mark = String.fromCharCode(input[0] ?? 0);
    // A line that does not end is called malformed sooner or later: here it ends.
    const bytes = `${input.toString("latin1", 1)}\r\n\r\n`;
    if (bytes.length > 600) continue;
    const isResponse = "<{(".includes(mark);
    const method = mark === "(" ? "HEAD" : "GET";
    const outcomeOf = isResponse
      ? (pieces: readonly string[]): string => responseOutcome(method, pieces, true)
      : requestOutcome;
    const why = check(JSON.stringify(bytes), bytes, outcomeOf);
    if (why !== undefined) wrong.push(why);
  }
  assert.deepEqual(wrong.slice(0, 5), [], `${wrong.length} differ`);
});
