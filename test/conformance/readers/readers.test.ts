/**
 * What Heddle forwards is read by six others: whatever a client sent, over HTTP/1.1 or HTTP/2, one
 * request that Heddle sent on is one request for each of them, with the same method, target and length.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, test, type TestContext } from "node:test";

import { readCorpus } from "../../fuzz/corpus.ts";
import { mutate } from "../../fuzz/mutations.ts";
import { Random } from "../../fuzz/random.ts";
import { probes } from "../http1/probes.ts";
import { forward } from "./forwarded.ts";
import { http2Inputs } from "./http2-inputs.ts";
import { lastTarget, missingReader, startReaders, type StreamReader } from "./readers.ts";

let readers: readonly StreamReader[] = [];

before(async () => {
  assert.equal(missingReader(), undefined);
  readers = await startReaders();
});

after(async () => {
  for (const reader of readers) await reader.close();
});

const mutations = 20_000;
const http2Connections = 1200;
const seed = 7;

/** Each request once: what clients send, from the probes, the searched corpus and their mutations. */
function inputs(): readonly Buffer[] {
  const kept = readCorpus(join(import.meta.dirname, "../../fuzz/corpus/http1.txt"))
    .filter((input) => input[0] === 0x3e || input[0] === 0x7d)
    .map((input) => input.subarray(1));
  const corpus = [...probes.map(({ bytes }) => Buffer.from(bytes, "latin1")), ...kept];
  const short = corpus.filter(({ length }) => length < 2000);
  const tokens = [
    "\r\n",
    "0\r\n\r\n",
    "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    ": ",
    ",",
    "\t",
  ];
  const random = new Random(seed);
  const from = {
    corpus: short,
    tokens: tokens.map((token) => Buffer.from(token)),
    bytesMax: 4000,
  };
  const mutated = Array.from({ length: mutations }, () => mutate(random.pick(short), random, from));
  return [...corpus, ...mutated];
}

interface Expected {
  readonly stream: Buffer;
  /** `method target` of each request, as Heddle wrote it. */
  readonly requests: readonly string[];
}

function expectedOf(all: readonly Buffer[]): readonly Expected[] {
  const byStream = new Map<string, Expected>();
  for (const input of all) {
    for (const { requests, isWhole } of forward(input)) {
      const whole = isWhole ? requests : requests.slice(0, -1);
      if (whole.length === 0) continue;
      const stream = Buffer.concat(whole);
      const lines = whole.map((bytes) => {
        const [method = "", target = ""] = bytes.toString("latin1").split(" ", 2);
        return `${method} ${target}`;
      });
      byStream.set(stream.toString("latin1").replaceAll(/[0-9a-f-]{36}/g, "ID"), {
        stream,
        requests: [...lines, `GET ${lastTarget}`],
      });
    }
  }
  return [...byStream.values()];
}

/** What a reader made of a stream, against what Heddle sent; undefined when they agree. */
function misread(read: readonly string[], { requests }: Expected): string | undefined {
  for (const [index, one] of read.entries()) {
    // What is refused ends the connection: nothing behind it is read as anything.
    if (one.startsWith("refused")) return index === read.length - 1 ? undefined : "goes on";
    const [method, target] = one.split(" ");
    if (`${method} ${target}` !== requests[index])
      return `${one}, not ${requests[index] ?? "none"}`;
  }
  const isRefused = read.at(-1)?.startsWith("refused") === true;
  return read.length === requests.length || isRefused ? undefined : `${read.length} requests`;
}

async function readByAll(expected: readonly Expected[], t: TestContext): Promise<void> {
  const lengths = new Map<string, string>();
  for (const reader of readers) {
    const results = await reader.read(expected.map(({ stream }) => stream));
    assert.equal(results.length, expected.length, reader.name);
    const wrong: string[] = [];
    let refusals = 0;
    for (const [index, one] of expected.entries()) {
      const read = results[index] ?? [];
      const why = misread(read, one);
      if (why !== undefined) wrong.push(`${JSON.stringify(one.stream.toString("latin1"))}: ${why}`);
      if (read.at(-1)?.startsWith("refused") === true) refusals++;
      else if (reader.tellsLength) {
        const key = String(index);
        const text = read.join("\n");
        const known = lengths.get(key) ?? text;
        lengths.set(key, known);
        if (known !== text) wrong.push(`${reader.name} reads other lengths: ${text}, not ${known}`);
      }
    }
    t.diagnostic(`${reader.name}: ${expected.length} streams, ${refusals} refused`);
    assert.deepEqual(wrong.slice(0, 5), [], `${reader.name}: ${wrong.length} misread`);
    // A reader that refuses all agrees with everybody.
    assert.ok(refusals < expected.length / 5, `${reader.name} refuses ${refusals}`);
  }
}

test("one request stays one request in nginx, HAProxy, Node, Go, h11 and gunicorn", async (t) => {
  const expected = expectedOf(inputs());
  assert.ok(expected.length > 500, `${expected.length} streams`);
  await readByAll(expected, t);
});

test("one request of HTTP/2 is one request of HTTP/1.1 in all of them", async (t) => {
  const corpus = join(import.meta.dirname, "../../fuzz/corpus/http2.txt");
  const expected = expectedOf(http2Inputs(corpus, http2Connections));
  assert.ok(expected.length > 500, `${expected.length} streams`);
  await readByAll(expected, t);
});
