import assert from "node:assert/strict";
import { test } from "node:test";

import { silentLog } from "../../../test/support/silent-log.ts";
import { typeUrls } from "../../xds/feed.ts";
import { FileFeed } from "./file-feed.ts";

const response = (...names: readonly string[]): string =>
  JSON.stringify({ resources: names.map((name) => ({ "@type": typeUrls.cluster, name })) });

test("FileFeed reads its file again when it changes, and tells what is gone", () => {
  let text = response("a", "b");
  let changed = (): void => {};
  const feed = new FileFeed({
    path: "cds.json",
    parseYaml: (yaml) => JSON.parse(yaml),
    readText: () => text,
    watch: (_path, onChange) => {
      changed = onChange;
      return () => {};
    },
    log: silentLog,
  });
  const seen: (readonly [names: readonly string[], removed: readonly string[]])[] = [];
  feed.onUpdate = (update) => {
    seen.push([update.resources.map(({ name }) => name), update.removed]);
    update.respond();
  };
  feed.subscribe(typeUrls.cluster, "*");
  changed();
  assert.deepEqual(seen, [[["a", "b"], []]], "the same text is no change");
  text = response("b", "c");
  changed();
  assert.deepEqual(seen[1], [["b", "c"], ["a"]]);
  // Half a file, or a broken one, leaves what there is.
  text = '{"resources": [';
  changed();
  text = response("", "d");
  changed();
  assert.equal(seen.length, 2);
});
