import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { PieceSender } from "./piece-sender.ts";

async function sent(sender: PieceSender, pieces: Iterable<string>): Promise<string> {
  const chunks: Buffer[] = [];
  await sender.send(pieces, async (bytes) => {
    chunks.push(Buffer.from(bytes));
    return await Promise.resolve(true);
  });
  return Buffer.concat(chunks).toString();
}

describe("PieceSender", () => {
  test("send() joins pieces of any length and script", async () => {
    const sender = new PieceSender();
    const pieces = ["a".repeat(30_000), "", "ä€😀", "b".repeat(200_000), "c", "d".repeat(21_000)];
    assert.equal(await sent(sender, pieces), pieces.join(""));
    assert.equal(await sent(sender, []), "");
  });

  test("send() writes over its buffer only when what was in it has been sent", async () => {
    const sender = new PieceSender();
    const pieces = Array.from({ length: 30 }, (_, i) => String(i % 10).repeat(9000));
    const parts: string[] = [];
    let isSending = false;
    await sender.send(pieces, async (bytes) => {
      assert(!isSending);
      isSending = true;
      await new Promise(setImmediate);
      parts.push(Buffer.from(bytes).toString());
      isSending = false;
      return true;
    });
    assert.equal(parts.join(""), pieces.join(""));
    assert(parts.length > 1);
  });

  test("send() asks for no more pieces when nobody reads", async () => {
    let asked = 0;
    function* pieces(): Generator<string> {
      for (; asked < 1000; asked++) yield "a".repeat(20_000);
    }
    await new PieceSender().send(pieces(), async () => await Promise.resolve(false));
    assert(asked < 10, `${asked}`);
  });

  test("send() keeps answers that go out at once apart", async () => {
    const sender = new PieceSender();
    const one = sent(sender, ["one".repeat(20_000), "one"]);
    const two = sent(sender, ["two".repeat(20_000), "two"]);
    assert.equal(await one, "one".repeat(20_001));
    assert.equal(await two, "two".repeat(20_001));
  });
});
