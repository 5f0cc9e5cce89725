import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import { RBAC } from "../../wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import {
  HeaderMutation,
  type Mutations,
} from "../../wire/gen/ts/envoy/extensions/filters/http/header_mutation/v3/header_mutation.ts";

const typeUrl =
  "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation";

function harness(...layers: readonly Fields<Mutations>[]): HttpHarness {
  return new HttpHarness({
    manager: { httpProtocolOptions: { enableTrailers: true } },
    filters: layers.map((mutations) => {
      const config = message(HeaderMutation, { mutations });
      return { typeUrl, value: HeaderMutation.encode(config).finish() };
    }),
  });
}

const chunked = "transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
const set = (key: string, value: string): object => ({
  append: { header: { key, value }, appendAction: 2 },
});
const add = (key: string, value: string): object => ({ append: { header: { key, value } } });

/** Behind the last chunk. */
function trailersOf(text: string): readonly string[] {
  const end = text.split("\r\n0\r\n")[1] ?? "";
  return end.split("\r\n").filter((line) => line !== "");
}

test("header_mutation changes trailers of requests and of answers", () => {
  const mesh = harness(
    {
      requestTrailersMutations: [set("x-a", "%REQ(:METHOD)%"), { remove: "x-gone" }],
      responseTrailersMutations: [add("x-by", "first"), { remove: "x-gone" }],
    } as never,
    {
      requestTrailersMutations: [add("x-b", "two")],
      responseTrailersMutations: [add("x-by", "last"), add("content-length", "1")],
    } as never,
  );
  const client = mesh.connect();
  client.send(
    `POST /a HTTP/1.1\r\nhost: shop\r\n${chunked}x-a: 1\r\nx-gone: 1\r\nx-kept: 1\r\n\r\n`,
  );
  const upstream = mesh.upstream();
  assert.deepEqual(trailersOf(upstream.take()), ["x-kept: 1", "x-a: POST", "x-b: two"]);
  upstream.send(`HTTP/1.1 200 OK\r\n${chunked}x-gone: 1\r\nx-kept: 1\r\n\r\n`);
  // Answers pass the filters from the last to the first; a length is no trailer's to say.
  assert.deepEqual(trailersOf(client.take()), ["x-kept: 1", "x-by: last", "x-by: first"]);
});

test("header_mutation adds no trailers to what has none", () => {
  const mesh = harness({
    requestTrailersMutations: [add("x-a", "1")],
    responseTrailersMutations: [add("x-a", "1")],
  } as never);
  const client = mesh.connect();
  client.send(`POST /a HTTP/1.1\r\nhost: shop\r\n${chunked}\r\n`);
  const upstream = mesh.upstream();
  assert.deepEqual(trailersOf(upstream.take()), []);
  upstream.send(`HTTP/1.1 200 OK\r\n${chunked}\r\n`);
  assert.deepEqual(trailersOf(client.take()), []);
});

test("header_mutation changes the query that conditions of policies see, and logs", () => {
  const query = { key: "role", value: "guest" };
  const mutations = { queryParameterMutations: [{ append: { record: query, action: 2 } }] };
  const operand = { identExpr: { name: "request" } };
  const isGuest = {
    callExpr: {
      function: "_==_",
      args: [
        { selectExpr: { operand, field: "query" } },
        { constExpr: { stringValue: "role=guest" } },
      ],
    },
  };
  const guests = { permissions: [{ any: true }], principals: [{ any: true }], condition: isGuest };
  const rules = { action: 1, policies: { guests } };
  const change = message(HeaderMutation, { mutations } as never);
  const policy = message(RBAC, { rules } as never);
  const rbac = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC";
  const mesh = new HttpHarness({
    filters: [
      { typeUrl, value: HeaderMutation.encode(change).finish() },
      { typeUrl: rbac, value: RBAC.encode(policy).finish() },
    ],
  });
  const client = mesh.connect();
  client.send("GET /a?role=admin HTTP/1.1\r\nhost: shop\r\n\r\n");
  assert.match(client.take(), /^HTTP\/1\.1 403 /);
  assert.equal(mesh.log[0]?.path, "/a?role=guest");
});
