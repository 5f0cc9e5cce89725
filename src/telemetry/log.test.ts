import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { createLog, type Log } from "./log.ts";

function open(format: "text" | "json"): { readonly log: Log; readonly lines: string[] } {
  const lines: string[] = [];
  const log = createLog({
    level: "info",
    format,
    clock: new FakeClock(0),
    sink: (line) => lines.push(line),
  });
  return { log, lines };
}

test("createLog() writes one text line per event, whatever is in a field", () => {
  const { log, lines } = open("text");
  log.area("xds").warn("stream lost", { address: "198.18.0.1:15012", text: 'a\nb "c"', n: 3 });
  assert.deepEqual(lines, [
    '1970-01-01T00:00:00.000Z warn xds stream lost address=198.18.0.1:15012 text="a\\nb \\"c\\"" n=3\n',
  ]);
});

test("createLog() writes JSON, and a field cannot replace what every line has", () => {
  const { log, lines } = open("json");
  log.info("listener up", { level: "fake", port: 1 });
  assert.deepEqual(JSON.parse(lines[0] ?? ""), {
    time: "1970-01-01T00:00:00.000Z",
    level: "info",
    area: "heddle",
    message: "listener up",
    field_level: "fake",
    port: 1,
  });
});

test("setLevel() acts on one area, or on all, while running", () => {
  const { log, lines } = open("text");
  const xds = log.area("xds");
  xds.debug("not yet");
  log.setLevel("debug", "xds");
  xds.debug("now");
  log.debug("still not");
  log.setLevel("error");
  xds.warn("no more");
  assert.equal(lines.length, 1);
  assert.equal(log.levels().get("xds"), "error");
});
