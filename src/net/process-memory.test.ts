import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { cleanProgramPages, releaseMemory } from "./process-memory.ts";

function mapping(line: string, anonymousKb: number): string {
  return `${line}\nSize:                 64 kB\nAnonymous:      ${anonymousKb} kB\nLazyFree:  0 kB\n`;
}

test("cleanProgramPages() takes what is the program's own, not to be written and not changed", () => {
  const mappings = [
    mapping("00400000-0082e000 r--p 00000000 fe:00 108 /opt/node", 0),
    mapping("0082e000-03489000 r-xp 0042e000 fe:00 108 /opt/node", 0),
    mapping("072a7000-07300000 r--p 06ea7000 fe:00 108 /opt/node", 24), // relocated
    mapping("07300000-07400000 rw-p 06ea7000 fe:00 108 /opt/node", 0),
    mapping("0cced000-0d566000 rw-p 00000000 00:00 0 [heap]", 0),
    mapping("7f0000000000-7f0000200000 r-xp 00000000 00:00 0 ", 0),
    mapping("7f1000000000-7f1000200000 r-xp 00000000 fe:00 9 /usr/lib/libc.so.6", 0),
    mapping("7f2000000000-7f2000200000 r-xs 00000000 fe:00 108 /opt/node", 0),
  ].join("");
  assert.deepEqual(cleanProgramPages(mappings, "/opt/node"), [
    { start: 0x400000n, end: 0x82e000n },
    { start: 0x82e000n, end: 0x3489000n },
  ]);
});

test(
  "releaseMemory() leaves a process that goes on",
  { skip: process.platform !== "linux" },
  () => {
    assert.equal(releaseMemory(readFileSync("/proc/self/smaps", "utf8")), true);
    assert.equal(JSON.stringify({ a: [1, 2] }), '{"a":[1,2]}');
  },
);
