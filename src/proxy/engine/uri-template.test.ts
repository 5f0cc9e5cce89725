import assert from "node:assert/strict";
import { test } from "node:test";

import { UriTemplateMatchConfig } from "../../wire/gen/ts/envoy/extensions/path/match/uri_template/v3/uri_template_match.ts";
import { UriTemplateRewriteConfig } from "../../wire/gen/ts/envoy/extensions/path/rewrite/uri_template/v3/uri_template_rewrite.ts";
import { Refusal } from "./refusal.ts";
import { textPredicate } from "./text-test.ts";
import {
  compileTemplateRewrite,
  compileTemplateTest,
  templateOf,
  type UriTemplate,
} from "./uri-template.ts";

const prefix = "type.googleapis.com/envoy.extensions.path";

function template(pathTemplate: string): UriTemplate {
  const value = UriTemplateMatchConfig.encode({ pathTemplate }).finish();
  const typeUrl = `${prefix}.match.uri_template.v3.UriTemplateMatchConfig`;
  return templateOf({ name: "t", typedConfig: { typeUrl, value } }, "p");
}

function matches(pathTemplate: string, path: string): boolean {
  return textPredicate(compileTemplateTest(template(pathTemplate), "p"))(path);
}

function rewritten(from: string, pathTemplateRewrite: string, path: string): string {
  const value = UriTemplateRewriteConfig.encode({ pathTemplateRewrite }).finish();
  const typeUrl = `${prefix}.rewrite.uri_template.v3.UriTemplateRewriteConfig`;
  const config = { name: "t", typedConfig: { typeUrl, value } };
  return String(compileTemplateRewrite(config, template(from), "p")(path));
}

test("compileTemplateTest() knows segments, any number of them, and what stands after", () => {
  for (const [text, path, expected] of [
    ["/a/*/c", "/a/b/c", true],
    ["/a/*/c", "/a/b/b/c", false],
    ["/a/*/c", "/a//c", false],
    ["/a/**", "/a/", true],
    ["/a/**", "/a", false],
    ["/a/**", "/a/b/c.d", true],
    ["/a/**/z", "/a/b/c/z", true],
    ["/a/**.js", "/a/b/c.js", true],
    ["/a/**.js", "/a/b/cxjs", false],
    ["/a/*.js", "/a/b.js", true],
    ["/a/{x}/{y=b/*}", "/a/1/b/2", true],
    ["/a/{x}/{y=b/*}", "/a/1/c/2", false],
    ["/{all=**}", "/any/thing", true],
    ["/a/", "/a/", true],
    ["/a(b)+$c", "/a(b)+$c", true],
    ["/a.c", "/abc", false],
    ["/a/*", "/a/b?c", false],
    ["/a/*", "/a/%2F", true],
    ["/a/*", "/a/b\n", false],
  ] as const) {
    assert.equal(matches(text, path), expected, `${text} ${path}`);
  }
});

test("compileTemplateRewrite() puts what variables took where they are named", () => {
  for (const [from, to, path, expected] of [
    ["/a/{x}/{y}", "/{y}/{x}/{y}", "/a/1/2", "/2/1/2"],
    ["/a/{x=b/**}", "/z/{x}.html", "/a/b/c/d", "/z/b/c/d.html"],
    ["/a/{x}.{y}", "/z", "/a/b", "/a/b"],
  ] as const) {
    if (from.includes(".{")) assert.throws(() => template(from), Refusal);
    else assert.equal(rewritten(from, to, path), expected);
  }
  for (const to of ["/{no}", "x", "/a b", "/{x", "/a\\1"]) {
    assert.throws(() => rewritten("/a/{x}", to, "/a/1"), Refusal, to);
  }
});

test("templateOf() refuses what Envoy does", () => {
  for (const text of [
    "",
    "a",
    "/a b",
    "/**/*",
    "/**/**",
    "/**/{x}",
    "/{x}/{x}",
    "/{1}",
    "/{}",
    "/{x=}",
    "/{x",
    "/a*b",
    "/*b/c",
    "/{abcdefghijklmnopq}",
    "/{a}/{b}/{c}/{d}/{e}/{f}",
    "/a/?b",
    "/***",
    "//a",
  ]) {
    assert.throws(() => template(text), Refusal, text);
  }
});
