/** The dynamic table against a list: whatever comes and goes, and however its memory grows and shrinks. */
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { DynamicTable, entryOverhead } from "./hpack-dynamic-table.ts";

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("insert" as const),
      name: fc.integer({ min: 0, max: 60 }),
      value: fc.integer({ min: 0, max: 700 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("resize" as const),
      capacity: fc.constantFrom(0, 64, 1000, 4096),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("trim" as const) }) },
);

interface Entry {
  readonly line: string;
  readonly name: number;
  readonly value: number;
  readonly mark: number;
}

test("DynamicTable holds what a list of the same bound holds, in memory for that much", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150 }), (steps) => {
      const table = new DynamicTable(4096);
      let entries: Entry[] = [];
      const cost = ({ name, value }: Entry): number => name + value + entryOverhead;
      const bound = (most: number): void => {
        while (entries.reduce((sum, entry) => sum + cost(entry), 0) > most) entries.pop();
      };
      for (const [at, one] of steps.entries()) {
        if (one.kind === "trim") table.trim();
        else if (one.kind === "resize") {
          table.resize(one.capacity);
          bound(one.capacity);
        } else {
          const { name, value } = one;
          const letter = String.fromCharCode(0x61 + (at % 26));
          const line = `${letter.repeat(name)}: ${letter.repeat(value)}\r\n`;
          const entry = { line, name, value, mark: at };
          table.insert(Buffer.from(`--${line}`), 2, { name, value }, { hash: at * 3, mark: at });
          entries = [entry, ...entries];
          bound(table.capacity);
        }
        assert.equal(table.count, entries.length);
        for (const [back, { line, name, value, mark }] of entries.entries()) {
          const place = table.placeOf(back);
          const start = table.lineStart(place);
          assert.equal(table.bytes.toString("latin1", start, start + line.length), line);
          assert.deepEqual([table.nameLength(place), table.valueLength(place)], [name, value]);
          assert.deepEqual([table.hash(place), table.mark(place)], [mark * 3, mark]);
        }
        assert.ok(table.bytes.length <= 2 * 4096, String(table.bytes.length));
        if (one.kind === "trim") assert.ok(table.bytes.length <= table.size + 512);
      }
    }),
    { numRuns: 200 },
  );
});
