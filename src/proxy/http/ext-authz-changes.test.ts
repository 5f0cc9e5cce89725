import assert from "node:assert/strict";
import { test } from "node:test";

import { connectionView } from "../../../test/support/request-view.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import { ExtAuthz } from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import { Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import { changesRoute, compilePermission, type Permission } from "./ext-authz-changes.ts";
import { HttpRequest } from "./http-request.ts";

function requestOf(method = "GET"): HttpRequest {
  const head = new Http1Head();
  head.reset("request");
  const text = `${method} /a HTTP/1.1\r\nhost: shop\r\nx-a: 1\r\nx-b: 2\r\ncontent-length: 0\r\n\r\n`;
  feedHead(head, Buffer.from(text), 0, { headBytesMax: 1000, fieldsMax: 10 });
  const request = new HttpRequest(connectionView());
  request.reset(head);
  request.path = "/a";
  return request;
}

function permission(fields: Partial<Permission>): Permission {
  return {
    kind: "allowed",
    set: [],
    append: [],
    join: [],
    remove: [],
    query: undefined,
    response: [],
    metadata: {},
    ...fields,
  };
}

/** "void", or what the request is then. */
function changed(
  fields: Partial<Permission>,
  config: Fields<ExtAuthz> = {},
  method = "GET",
): string {
  const request = requestOf(method);
  const apply = compilePermission(message(ExtAuthz, config), "authz");
  if (!apply(request, permission(fields))) return "void";
  const headers: string[] = [];
  request.headers.forEach((name, value) => {
    if (name.startsWith("x-")) headers.push(`${name}=${value}`);
  });
  return [request.method, request.authority + request.path, ...headers.toSorted()].join(" ");
}

test("a permission changes whom the request is for, as far as that is a request", () => {
  const set = (name: string, value: string, method = "GET"): string =>
    changed({ set: [[name, value]] }, {}, method);
  assert.equal(set(":path", "/b?c=1"), "GET shop/b?c=1 x-a=1 x-b=2");
  assert.equal(set("host", "other:80"), "GET other:80/a x-a=1 x-b=2");
  assert.equal(set(":authority", "other"), "GET other/a x-a=1 x-b=2");
  assert.equal(set(":method", "PUT"), "PUT shop/a x-a=1 x-b=2");
  for (const [name, value] of [
    [":path", "b"],
    [":path", ""],
    [":path", "/a b"],
    [":path", "/a#b"],
    ["host", "a b"],
    ["host", ""],
    [":authority", "me@shop"],
    [":method", "G T"],
    [":method", "HEAD"],
    [":method", "CONNECT"],
    [":scheme", "ftp"],
    [":status", "200"],
  ] as const) {
    assert.equal(set(name, value), "void", `${name} ${value}`);
  }
  assert.equal(set(":method", "GET", "HEAD"), "void", "the answer has no body");
  assert.equal(set(":method", "HEAD", "HEAD"), "HEAD shop/a x-a=1 x-b=2");
  for (const name of [":path", "host"]) assert.equal(changed({ join: [[name, "x"]] }), "void");
  const remove = [":path", "host", "content-length", "", "x-a"];
  assert.equal(changed({ remove }), "GET shop/a x-b=2");
});

test("rules pass over what they do not allow, or make the permission void", () => {
  const all: Partial<Permission> = {
    set: [
      [":path", "/b"],
      ["host", "other"],
      [":method", "PUT"],
      ["x-envoy-a", "1"],
      ["x-c", "3"],
    ],
    join: [["x-a", "2"]],
    remove: ["x-b"],
  };
  const ruled = (rules: Fields<ExtAuthz>["decoderHeaderMutationRules"]): string =>
    changed(all, { decoderHeaderMutationRules: rules });
  assert.equal(ruled({}), "GET shop/b x-a=1,2 x-c=3");
  assert.equal(ruled({ allowAllRouting: true }), "PUT other/b x-a=1,2 x-c=3");
  assert.equal(ruled({ allowEnvoy: true }), "GET shop/b x-a=1,2 x-c=3 x-envoy-a=1");
  assert.equal(ruled({ disallowSystem: true }), "GET shop/a x-a=1,2 x-c=3");
  assert.equal(ruled({ disallowAll: true }), "GET shop/a x-a=1 x-b=2");
  const regex = (pattern: string): { regex: string } => ({ regex: pattern });
  assert.equal(
    ruled({ disallowAll: true, allowExpression: regex("x-[ac]") }),
    "GET shop/a x-a=1,2 x-b=2 x-c=3",
  );
  assert.equal(ruled({ disallowExpression: regex("x-.*|:path") }), "GET shop/a x-a=1 x-b=2");
  assert.equal(ruled({ disallowIsError: true }), "void");
  const strict = { decoderHeaderMutationRules: { disallowIsError: true } };
  assert.equal(changed({ remove: ["host"] }, strict), "void");
  assert.equal(changed({ set: [["x-c", "3"]] }, strict), "GET shop/a x-a=1 x-b=2 x-c=3");
});

test("queries take what is plain alone, where mutations are validated", () => {
  const query = (value: string): Partial<Permission> => ({
    query: { set: [["b", value]], remove: [] },
  });
  assert.equal(changed(query("a+b")), "GET shop/a?b=a+b x-a=1 x-b=2");
  for (const text of ["a+b", "a%20b", "a~b"]) {
    assert.equal(changed(query(text), { validateMutations: true }), "void");
  }
  assert.equal(changed(query("a.b"), { validateMutations: true }), "GET shop/a?b=a.b x-a=1 x-b=2");
});

test("changesRoute() asks by the fields that are named", () => {
  const names = new Set(["x-a"]);
  for (const [fields, any, named] of [
    [{}, false, false],
    [{ set: [["x-b", "1"]] }, true, false],
    [{ set: [["x-a", "1"]] }, true, true],
    [{ remove: ["x-a"] }, true, true],
    [{ query: { set: [], remove: ["q"] } }, true, true],
  ] as const) {
    assert.equal(changesRoute(permission(fields), undefined), any);
    assert.equal(changesRoute(permission(fields), names), named);
  }
});
