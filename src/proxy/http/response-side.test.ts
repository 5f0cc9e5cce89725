import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";

test("the status of a call is a number, whatever its server says", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  for (const [said, expected] of [
    ["0", 0],
    ["14", 14],
    ["007", 7],
    ["", undefined],
    ["-1", -1],
    ["1e1", -1],
    ["0x5", -1],
    ["fine", -1],
  ] as const) {
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    mesh.upstream().send(`HTTP/1.1 200 OK\r\ncontent-length: 0\r\ngrpc-status: ${said}\r\n\r\n`);
    assert.match(client.take(), /^HTTP\/1\.1 200 /);
    assert.equal(mesh.record?.grpcStatus, expected, said);
  }
});
