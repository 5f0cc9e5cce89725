/** Header changes against an interpreter of the same options, two ways. */
import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { message } from "../../../test/support/message.ts";
import { type HeaderList, oracleHeaderChanges } from "../../../test/support/oracle/headers.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import { compileHeaderEdit, type EditableHeaders } from "./header-edit.ts";
import { compileHeaderLevel } from "./header-operations.ts";

class Headers implements EditableHeaders {
  list: HeaderList;
  constructor(list: HeaderList) {
    this.list = list;
  }
  has(name: string): boolean {
    return this.list.some(([other]) => other === name);
  }
  add(name: string, value: string): void {
    this.list = [...this.list, [name, value]];
  }
  set(name: string, value: string): void {
    this.remove(name);
    this.add(name, value);
  }
  remove(name: string): void {
    this.removeMatching((other) => other === name);
  }
  removeMatching(matches: (name: string) => boolean): void {
    this.list = this.list.filter(([other]) => !matches(other));
  }
}

const name = fc.constantFrom("a", "b", "x-c", "constructor", "__proto__");
const value = fc.constantFrom("", "1", "2", '");throw 1//', "\\", "`${1}`", "\u2028");
const addition = fc
  .record({
    key: fc.oneof(name, fc.constantFrom("A", "X-C")),
    value,
    appendAction: fc.constantFrom(0, 1, 2, 3),
    append: fc.constantFrom(undefined, undefined, true, false),
    keepEmptyValue: fc.boolean(),
  })
  .map(({ key, value: text, ...rest }) => ({ header: { key, value: text }, ...rest }));

test("compileHeaderEdit() agrees with the interpreter: generated code and closures", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(name, value), { maxLength: 5 }),
      fc.array(name, { maxLength: 2 }),
      fc.array(addition, { maxLength: 6 }),
      (headers, removals, additions) => {
        const config = message(RouteConfiguration, {
          requestHeadersToRemove: removals,
          requestHeadersToAdd: additions,
        });
        const operations = compileHeaderLevel(config, "").request;
        const wanted = oracleHeaderChanges(headers, removals, config.requestHeadersToAdd);
        for (const generatesCode of [true, false]) {
          const edited = new Headers(headers);
          compileHeaderEdit(operations, { generatesCode })?.(edited, requestView());
          assert.deepEqual(edited.list, wanted);
        }
      },
    ),
    { numRuns: 500 },
  );
});

test("compileHeaderEdit() fills formats from the request, and leaves empty ones out", () => {
  const config = message(RouteConfiguration, {
    requestHeadersToAdd: [
      { header: { key: "x-from", value: "%REQ(x-a)%/%DOWNSTREAM_LOCAL_PORT%" } },
      { header: { key: "x-none", value: "%REQ(x-b)%" } },
      { header: { key: "x-kept", value: "%REQ(x-b)%" }, keepEmptyValue: true },
    ],
  });
  const { request: operations } = compileHeaderLevel(config, "");
  for (const generatesCode of [true, false]) {
    const edited = new Headers([]);
    const edit = compileHeaderEdit(operations, { generatesCode });
    edit?.(edited, requestView({ headers: { "x-a": "1" } }));
    assert.deepEqual(edited.list, [
      ["x-from", "1/8080"],
      ["x-kept", ""],
    ]);
  }
});
