import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import { message } from "../../../test/support/message.ts";
import { HeaderMutation } from "../../wire/gen/ts/envoy/extensions/filters/http/header_mutation/v3/header_mutation.ts";

const typeUrl =
  "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";
const names = ["content-length", "Transfer-Encoding", "connection"];

/** Routes and filters that take away whatever they can. */
function harness(answer?: string): HttpHarness {
  const removals = names.map((remove) => ({ remove }));
  const mutations = { requestMutations: removals, responseMutations: removals };
  const config = message(HeaderMutation, { mutations } as never);
  const body = { inlineString: answer };
  const direct = { match: { prefix: "/" }, directResponse: { status: 200, body } };
  const forwarded = { match: { prefix: "/" }, route: { cluster: "app" } };
  return new HttpHarness({
    manager: { httpProtocolOptions: { acceptHttp10: true } },
    filters: [{ typeUrl, value: HeaderMutation.encode(config).finish() }],
    routes: {
      requestHeadersToRemove: names,
      responseHeadersToRemove: names,
      virtualHosts: [
        { name: "all", domains: ["*"], routes: [answer === undefined ? forwarded : direct] },
      ],
    },
  });
}

const bodies = {
  length: "content-length: 3\r\n\r\nabc",
  chunked: "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
};
const asChunks = /transfer-encoding: chunked\r\n(?:.*\r\n)*\r\n3\r\nabc\r\n0\r\n\r\n$/;

for (const [kind, body] of Object.entries(bodies)) {
  test(`keepFramed() lets nobody take away where a body ends: ${kind}`, () => {
    const mesh = harness();
    const client = mesh.connect();
    client.send(`POST /a HTTP/1.1\r\nhost: shop\r\n${body}`);
    const upstream = mesh.upstream();
    assert.match(upstream.take(), asChunks);
    upstream.send(`HTTP/1.1 200 OK\r\n${body}`);
    assert.match(client.take(), asChunks);
    // Both connections are in step.
    client.send("GET /b HTTP/1.1\r\nhost: shop\r\n\r\n");
    assert.match(mesh.upstream(0).take(), /^GET \/b /);
  });
}

test("keepLength() tells clients of HTTP/1.0 how long a body is", () => {
  const mesh = harness();
  const client = mesh.connect();
  client.send("GET /a HTTP/1.0\r\nhost: shop\r\n\r\n");
  mesh.upstream().take();
  mesh.upstream().send(`HTTP/1.1 200 OK\r\n${bodies.length}`);
  assert.match(client.take(), /content-length: 3\r\n(?:.*\r\n)*\r\nabc$/);
});

test("an answer of the proxy's own says how long it is", () => {
  const client = harness("abc").connect();
  client.send("GET /a HTTP/1.1\r\nhost: shop\r\n\r\n");
  assert.match(client.take(), /content-length: 3\r\n(?:.*\r\n)*\r\nabc$/);
});
