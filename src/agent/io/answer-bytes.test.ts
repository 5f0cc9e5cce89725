import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { AnswerBytes } from "./answer-bytes.ts";

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

describe("AnswerBytes", () => {
  test("hold() joins pieces of any length and script", () => {
    const answers = new AnswerBytes();
    const pieces = ["a".repeat(100_000), "", "ä€😀", "b".repeat(200_000)];
    const { bytes, release } = answers.hold(pieces);
    assert.equal(textOf(bytes), pieces.join(""));
    release();
    assert.equal(textOf(answers.hold([]).bytes), "");
  });

  test("hold() writes over what was released, and over nothing else", () => {
    const answers = new AnswerBytes();
    const first = answers.hold(["first"]);
    const second = answers.hold(["second"]);
    assert.deepEqual([textOf(first.bytes), textOf(second.bytes)], ["first", "second"]);
    first.release();
    const third = answers.hold(["third"]);
    assert.equal(third.bytes.buffer, first.bytes.buffer);
    first.release();
    const fourth = answers.hold(["fourth"]);
    assert.deepEqual([textOf(third.bytes), textOf(fourth.bytes)], ["third", "fourth"]);
  });
});
