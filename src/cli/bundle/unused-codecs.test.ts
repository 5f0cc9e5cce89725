import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { stripUnusedCodecs, withoutOthers } from "./unused-codecs.ts";

const root = join(import.meta.dirname, "../../..");
const folder = join(root, "src/wire/gen/ts/envoy");

function stripped(file: string): string {
  const path = join(folder, file);
  return stripUnusedCodecs(root).transform(readFileSync(path, "utf8"), path) ?? "";
}

describe("stripUnusedCodecs()", () => {
  test("keeps what is called, what that calls, and every decoder", () => {
    const path = join(folder, "service/discovery/v3/discovery.ts");
    const code = stripped("service/discovery/v3/discovery.ts");
    const of = (name: string): string =>
      new RegExp(`^export const ${name}: MessageFns<[^]*?^};\n`, "m").exec(code)?.[0] ?? "";
    assert.match(of("DiscoveryRequest"), /^ {2}encode\(/m);
    assert.match(of("DiscoveryRequest"), /^ {2}fromPartial</m);
    assert.doesNotMatch(of("Resource"), /^ {2}(encode|create|fromPartial)[<(]/m);
    const decoders = (text: string): number => text.match(/^ {2}decode\(/gm)?.length ?? 0;
    assert.equal(decoders(code), decoders(readFileSync(path, "utf8")));
    // A node is sent in every first request.
    assert.match(stripped("config/core/v3/base.ts"), /export const Node: [^]*?^ {2}encode\(/m);
  });

  test("touches nothing but generated messages", () => {
    const code = "export const A: MessageFns<A> = {\n  encode() {\n  },\n};\n";
    assert.equal(stripUnusedCodecs(root).transform(code, join(root, "src/a.ts")), undefined);
    assert.equal(withoutOthers(code, new Set(["A.encode"])), code);
    assert.equal(withoutOthers(code, new Set()), "export const A: MessageFns<A> = {\n};\n");
  });
});
