import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { ReportMemory } from "./report-memory.ts";
import { type ReportEncoding, type ReportOutcome, ReportQueue } from "./report-queue.ts";

/** Reports are texts, one after another, in brackets. */
class Texts implements ReportEncoding<string> {
  #text = "";

  get bytes(): number {
    return this.#text.length;
  }

  add(item: string): number {
    this.#text += item;
    return 1;
  }

  seal(): Uint8Array {
    const body = Buffer.from(`[${this.#text}]`);
    this.#text = "";
    return body;
  }
}

function queueOf(memory: ReportMemory) {
  const clock = new FakeClock();
  const posts: { readonly body: string; readonly done: (isAccepted: boolean) => void }[] = [];
  const counts: Record<ReportOutcome, number> = { sent: 0, failed: 0, dropped: 0 };
  const queue = new ReportQueue<string>({
    clock,
    encoding: new Texts(),
    flushAfterMs: 1000,
    batchReports: 2,
    batchBytes: 1000,
    pendingReportsMax: 100,
    pendingBytesMax: 1000,
    memory,
    post: (body, done) => void posts.push({ body: Buffer.from(body).toString(), done }),
    count: (outcome, reports) => void (counts[outcome] += reports),
  });
  return { clock, queue, posts, counts };
}

test("ReportQueue.add() drops what finds no room among all that waits for collectors", () => {
  const memory = new ReportMemory(10);
  const [slow, other] = [queueOf(memory), queueOf(memory)];
  slow.queue.add("abcd");
  slow.queue.add("efgh");
  assert.deepEqual(
    slow.posts.map(({ body }) => body),
    ["[abcdefgh]"],
  );
  // It is on its way, and still counts.
  assert.equal(memory.bytes, 10);
  other.queue.add("i");
  assert.deepEqual(other.counts, { sent: 0, failed: 0, dropped: 1 });
  slow.posts[0]?.done(false);
  assert.equal(memory.bytes, 0);
  other.queue.add("j");
  assert.equal(memory.bytes, 1);
  other.clock.advance(1000);
  other.posts[0]?.done(true);
  assert.deepEqual(other.counts, { sent: 1, failed: 0, dropped: 1 });
  assert.equal(memory.bytes, 0);
});
