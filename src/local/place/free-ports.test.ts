import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

import { freePorts } from "./free-ports.ts";

/** Wide enough for several runs of this on one machine. */
const range = { first: 15_000, last: 20_000 };

test("freePorts() gives no port twice, and none of another process's", async () => {
  const source = JSON.stringify(new URL("./free-ports.ts", import.meta.url).href);
  const script = `import { freePorts } from ${source};
    console.log(JSON.stringify(await freePorts(40, ${JSON.stringify(range)})));`;
  const args = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script];
  const own = await freePorts(40, range);
  const [{ stdout }, more] = await Promise.all([
    promisify(execFile)(process.execPath, args),
    freePorts(40, range),
  ]);
  const theirs: readonly number[] = JSON.parse(stdout);
  const all = [...own, ...more, ...theirs];
  assert.equal(new Set(all).size, 120);
  assert.ok(all.every((port) => port > range.first && port < range.last));
});

test("freePorts() says when there are none left", async () => {
  await assert.rejects(
    freePorts(60, { first: 15_200, last: 15_250 }),
    /could not find 60 free local ports/,
  );
});
