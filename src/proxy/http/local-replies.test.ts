import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import type { Fields } from "../../../test/support/message.ts";
import type { LocalReplyConfig } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { Refusal } from "../engine/refusal.ts";

const unrouted = { name: "r", virtualHosts: [] };

function answerTo(request: string, localReplyConfig: Fields<LocalReplyConfig>): string {
  const mesh = new HttpHarness({
    manager: { localReplyConfig: localReplyConfig as never },
    routes: unrouted,
  });
  const client = mesh.connect();
  client.send(request);
  return client.take();
}

const get = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const notFound = {
  statusCodeFilter: { comparison: { op: 0, value: { defaultValue: 404, runtimeKey: "k" } } },
} as const;

test("local replies: the first mapper that passes decides, the format of all makes the body", () => {
  const answer = answerTo(get, {
    mappers: [
      {
        filter: { statusCodeFilter: { comparison: { value: { defaultValue: 1 } } } },
        statusCode: 500,
      },
      { filter: notFound, statusCode: 410, body: { inlineString: "“gone”" } },
      { filter: notFound, statusCode: 411 },
    ],
    bodyFormat: { textFormatSource: { inlineString: "%LOCAL_REPLY_BODY% %RESPONSE_CODE%\n" } },
  });
  const [head = "", body = ""] = answer.split("\r\n\r\n");
  assert.match(head, /^HTTP\/1\.1 410 Gone\r\n/);
  const text = Buffer.from(body, "latin1").toString("utf8");
  assert.equal(text, "“gone” 410\n");
  assert.match(head, new RegExp(`\r\ncontent-length: ${Buffer.byteLength(text)}\r\n`));
});

test("local replies: what would not be done is refused", () => {
  for (const config of [
    { mappers: [{ statusCode: 500 }] },
    { mappers: [{ filter: notFound, statusCode: 100 }] },
    { mappers: [{ filter: notFound, body: { filename: "/x" } }] },
    { bodyFormat: { textFormatSource: { inlineString: "%NOPE%" } } },
    { bodyFormat: {} },
  ]) {
    assert.throws(() => answerTo(get, config), Refusal);
  }
});
