import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { isPlainPath, normalizePath, type PathRules } from "./path.ts";

const none: PathRules = { normalize: false, mergeSlashes: false, escapedSlashes: "keep" };
const all: PathRules = { normalize: true, mergeSlashes: true, escapedSlashes: "forward" };

/** `undefined` is a refusal; `-> path` a redirect. */
function check(rules: Partial<PathRules>, ...cases: [path: string, expected?: string][]): void {
  for (const [path, expected] of cases) {
    const result = normalizePath(path, { ...none, ...rules });
    const found =
      result.kind === "reject"
        ? undefined
        : `${result.kind === "redirect" ? "-> " : ""}${result.path}`;
    assert.equal(found, expected, path);
  }
}

test("normalizePath() removes dot segments and escapes nobody needs", () => {
  check(
    { normalize: true },
    ["/a/b", "/a/b"],
    ["/a/./b", "/a/b"],
    ["/a/../b", "/b"],
    ["/../../b", "/b"],
    ["/a/..", "/"],
    ["/a/.", "/a/"],
    ["/a/b/..", "/a/"],
    ["/%61dmin", "/admin"],
    ["/a%2e%2e/b", "/a../b"],
    ["/a/%2e%2E/b", "/b"],
    ["/a%2fb", "/a%2Fb"],
    ["/a\\..\\b", "/b"],
    ["/a?x=/../b", "/a?x=/../b"],
    ["/a//../b", "/a/b"],
  );
});

test("normalizePath() refuses what two readers would read in two ways", () => {
  check({ normalize: true }, ["/a%00"], ["/a%"], ["/a%zz"], ["/a%2"]);
});

test("normalizePath() merges slashes, but none in a query", () => {
  check({ mergeSlashes: true }, ["//a///b", "/a/b"], ["/a?b=//c", "/a?b=//c"]);
});

test("normalizePath() treats escaped slashes as it is told", () => {
  check({ escapedSlashes: "keep" }, ["/a%2fb", "/a%2fb"]);
  check({ escapedSlashes: "reject" }, ["/a%2fb"], ["/a%5Cb"], ["/a?b=%2f", "/a?b=%2f"]);
  check({ escapedSlashes: "redirect" }, ["/a%2Fb?c", "-> /a/b?c"], ["/a/b", "/a/b"]);
  check({ escapedSlashes: "forward" }, ["/a%2fb", "/a/b"]);
  check(
    { escapedSlashes: "forward", normalize: true },
    ["/a%2f..%2fb", "/b"],
    ["/a%5c..%5cb", "/b"],
  );
});

const piece = fc.constantFrom("a", "..", ".", "", "%2e", "%2F", "%5c", "\\", "%61", "b%20");
const paths = fc.array(piece, { maxLength: 8 }).map((pieces) => `/${pieces.join("/")}`);

test("normalizePath() has nothing left to do after once", () => {
  fc.assert(
    fc.property(paths, (path) => {
      const once = normalizePath(path, all);
      if (once.kind === "reject") return;
      const twice = normalizePath(once.path, all);
      assert.deepEqual(twice, { kind: "path", path: once.path });
      assert.doesNotMatch(once.path, /\/\.{1,2}(\/|$)|\/\/|\\/);
    }),
  );
});

test("isPlainPath() is true only of paths that normalizePath() leaves alone", () => {
  fc.assert(
    fc.property(paths, (path) => {
      if (isPlainPath(path)) assert.deepEqual(normalizePath(path, all), { kind: "path", path });
    }),
  );
});

test("normalizePath() climbs at ..; as readers do that strip parameters first", () => {
  const rules: PathRules = { normalize: true, mergeSlashes: false, escapedSlashes: "keep" };
  const cases = {
    "/x/..;/admin": "/admin",
    "/x/..;a=b/y": "/y",
    "/.;/a": "/a",
    "/a;b/c": "/a;b/c",
  };
  for (const [path, expected] of Object.entries(cases)) {
    assert.deepEqual(normalizePath(path, rules), { kind: "path", path: expected }, path);
  }
});
