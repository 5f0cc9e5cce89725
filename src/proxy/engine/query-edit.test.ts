import assert from "node:assert/strict";
import { test } from "node:test";

import { message } from "../../../test/support/message.ts";
import {
  KeyValueAppend_KeyValueAppendAction as Action,
  KeyValueMutation,
} from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { compileQueryEdit } from "./query-edit.ts";
import { Refusal } from "./refusal.ts";

function edited(path: string, key: string, action?: Action): string | undefined {
  const mutation =
    action === undefined ? { remove: key } : { append: { record: { key, value: "v" }, action } };
  return compileQueryEdit([message(KeyValueMutation, mutation)], "q")?.(path);
}

test("compileQueryEdit() changes one parameter and sorts the others, as they were written", () => {
  for (const [path, key, action, expected] of [
    ["/a?z=1&b=%20&b", "k", Action.APPEND_IF_EXISTS_OR_ADD, "/a?b=%20&b=&k=v&z=1"],
    ["/a?k=1&k=2", "k", Action.APPEND_IF_EXISTS_OR_ADD, "/a?k=1&k=2&k=v"],
    ["/a?k=1", "k", Action.ADD_IF_ABSENT, "/a?k=1"],
    ["/a", "k", Action.ADD_IF_ABSENT, "/a?k=v"],
    ["/a?k=1&k=2", "k", Action.OVERWRITE_IF_EXISTS_OR_ADD, "/a?k=v"],
    ["/a?%6B=1", "k", Action.OVERWRITE_IF_EXISTS, "/a?k=v"],
    ["/a?j=1", "k", Action.OVERWRITE_IF_EXISTS, "/a?j=1"],
    ["/a?k&k=2&j", "k", undefined, "/a?j="],
    ["/a?&k&&j&", "k", undefined, "/a?=&=&j="],
    ["/a?", "k", undefined, "/a"],
    ["/a?%6b=1&x=%0D%0A", "k", undefined, "/a?x=%0D%0A"],
    ["/a?k=1", "k", undefined, "/a"],
    ["/a?__proto__=1", "k", Action.ADD_IF_ABSENT, "/a?__proto__=1&k=v"],
  ] as const) {
    assert.equal(edited(path, key, action), expected, `${path} ${key} ${String(action)}`);
  }
});

test("compileQueryEdit() refuses what is no change, or would have to be escaped", () => {
  for (const fields of [
    {},
    { append: { record: { key: "", value: "v" } } },
    { append: { record: { key: "k", value: 1 } } },
    { append: { record: { key: "k", value: "a b" } } },
    { append: { record: { key: "k&j", value: "a" } } },
    { append: { record: { key: "k", value: "\r\n" } } },
  ]) {
    const mutation = message(KeyValueMutation, fields as never);
    assert.throws(() => compileQueryEdit([mutation], "q"), Refusal);
  }
});
