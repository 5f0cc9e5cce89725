import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";

import { connectionView } from "../../../test/support/request-view.ts";
import { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import { makeTestAuthority } from "../../../test/support/test-certificates.ts";
import { compileTextFormat } from "../../telemetry/access-log-format.ts";
import { LineBuffer } from "../../telemetry/line-buffer.ts";
import { TcpRecord } from "../tcp/tcp-record.ts";

test("a record tells the client's whole subject", async () => {
  const authority = await makeTestAuthority();
  const { chainPem } = await authority.issue({
    subject: [{ O: ["Shop"] }, { CN: ["cart-0.shop"] }],
  });
  const channel = new ScriptedChannel({
    version: "TLSv1.3",
    cipher: "",
    sni: undefined,
    alpn: undefined,
    peerUriSans: [],
    peerCommonName: "cart-0.shop",
    peerCertificateDer: new X509Certificate(chainPem).raw,
    localUriSans: [],
  });
  const line = compileTextFormat("%DOWNSTREAM_PEER_SUBJECT%").value;
  const say = (record: TcpRecord): string => {
    const buffer = new LineBuffer();
    line?.(record, buffer);
    return buffer.memory.toString("utf8", 0, buffer.length);
  };
  assert.equal(say(new TcpRecord(channel, connectionView(), "inbound")), "CN=cart-0.shop,O=Shop");
  const plain = new TcpRecord(new ScriptedChannel(), connectionView(), "inbound");
  assert.equal(say(plain), "-");
});

test("the ids of a trace are those that it began with, unless others are set", () => {
  const record = new TcpRecord(new ScriptedChannel(), connectionView(), "inbound");
  record.beginTrace(`00-${"4b".repeat(16)}-${"a1".repeat(8)}-01`);
  assert.equal(record.traceId, "4b".repeat(16));
  assert.equal(record.spanId, "a1".repeat(8));
  record.beginTrace(`00-${"4c".repeat(16)}-${"a2".repeat(8)}-01`);
  record.spanId = "b3".repeat(8);
  assert.equal(record.traceId, "4c".repeat(16));
  assert.equal(record.spanId, "b3".repeat(8));
});
