import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { message } from "../../../test/support/message.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { TcpProxy_TunnelingConfig } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import { Refusal } from "../engine/refusal.ts";
import {
  compileTunnel,
  type TunnelAnswer,
  TunnelAnswerReader,
  type TunnelPlan,
  writeTunnelHead,
} from "./tunnel.ts";

const { connection } = requestView({ connection: { sni: "shop.test\r\nx-made: up" } });

test("compileTunnel() asks for the host, with headers that a peer cannot add to", () => {
  const config = message(TcpProxy_TunnelingConfig, {
    hostname: "proxy.test:443",
    headersToAdd: [{ header: { key: "X-Sni", value: "%REQUESTED_SERVER_NAME%" } }],
  });
  assert.equal(
    writeTunnelHead(compileTunnel(config, "t").ask({ connection })).toString("latin1"),
    "CONNECT proxy.test:443 HTTP/1.1\r\nhost: proxy.test:443\r\nx-sni: shop.testx-made: up\r\n\r\n",
  );
  assert.throws(() => compileTunnel(message(TcpProxy_TunnelingConfig, {}), "t"), Refusal);
});

test("compileTunnel() posts to a path, which only a POST has", () => {
  const compile = (usePost: boolean, postPath: string): TunnelPlan =>
    compileTunnel(message(TcpProxy_TunnelingConfig, { hostname: "h:1", usePost, postPath }), "t");
  const pathOf = ({ ask }: TunnelPlan): string | undefined => ask({ connection }).path;
  assert.equal(pathOf(compile(false, "")), undefined);
  assert.equal(compile(false, "").isPosted, false);
  assert.equal(pathOf(compile(true, "")), "/");
  assert.equal(pathOf(compile(true, "/to?a=1")), "/to?a=1");
  assert.equal(compile(true, "").isPosted, true);
  assert.throws(() => compile(false, "/to"), /t\.post_path: needs use_post/);
  for (const path of ["to", "/a b", "/a\r\nx: y", "/\u00e9"]) {
    assert.throws(() => compile(true, path), /t\.post_path: is no path/, path);
  }
});

function read(text: string, cut: number): TunnelAnswer {
  const reader = new TunnelAnswerReader();
  const first = reader.read(Buffer.from(text.slice(0, cut), "latin1"));
  return first.kind === "more" ? reader.read(Buffer.from(text.slice(cut), "latin1")) : first;
}

test("read() finds the end of the answer wherever it is cut", () => {
  const answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx: 1\r\n\r\n";
  for (let cut = 0; cut <= answer.length; cut++) {
    const found = read(`${answer}hello`, cut);
    // What comes after the answer is the connection's already.
    assert.equal(found.kind, "open", String(cut));
  }
  assert.equal(read(answer, 3).kind, "open");
  assert.equal(read(answer.slice(0, -1), 3).kind, "more");
});

test("read() takes nothing but a success for a tunnel", () => {
  for (const text of [
    "HTTP/1.1 403 Forbidden\r\n\r\n",
    "HTTP/1.1 301 Moved\r\n\r\n",
    "HTTP/1.1 101 Switching\r\n\r\n",
    "HTTP/2 200\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "SSH-2.0\r\n\r\n",
    `HTTP/1.1 200 OK\r\nx: ${"a".repeat(70_000)}`,
  ]) {
    assert.equal(read(text, 0).kind, "refused", text.slice(0, 40));
  }
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
      new TunnelAnswerReader().read(Buffer.from(bytes));
    }),
  );
});

test("compileTunnel() refuses names for an id that requests do not have, and what is no header", () => {
  const typedConfig = {
    typeUrl: "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig",
    value: new Uint8Array(),
  };
  const refuses = (fields: object, reason: RegExp): void => {
    const config = message(TcpProxy_TunnelingConfig, { hostname: "h:1", ...fields });
    assert.throws(() => compileTunnel(config, "t"), reason);
  };
  refuses({ requestIdHeader: "x-id" }, /t\.request_id_header: needs request_id_extension/);
  refuses({ requestIdMetadataKey: "id" }, /t\.request_id_metadata_key: needs/);
  const requestIdExtension = { typedConfig };
  refuses({ requestIdExtension, requestIdHeader: "x id" }, /t\.request_id_header: is no name/);
  refuses({ requestIdExtension, requestIdHeader: ":path" }, /t\.request_id_header: is no name/);
  const other = { typedConfig: { ...typedConfig, typeUrl: "other" } };
  refuses({ requestIdExtension: other }, /t\.request_id_extension\.typed_config: 'other'/);
});
