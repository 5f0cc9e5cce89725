import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { detoursTo, programPlaces } from "./detours.ts";

const nobody = { uid: 65_534, gid: 65_534 };

test("detoursTo() leads around closed folders, once for each and without what is inside of another", (t) => {
  const base = realpathSync(mkdtempSync(join(tmpdir(), "heddle-detours-")));
  t.after(() => rmSync(base, { recursive: true }));
  const at = (...names: string[]): string => join(base, ...names);
  for (const folder of [at("home", "clone", "shop"), at("home", "tool"), at("open", "x")]) {
    mkdirSync(folder, { recursive: true });
  }
  const ownership = (closedMode: number) => (path: string) => {
    const mode = path === at("home") ? closedMode : 0o755;
    return { uid: 0, gid: 0, mode };
  };
  const paths = [at("home", "clone"), at("home", "clone", "shop"), at("home", "tool"), at("gone")];
  const needed = [at("home", "clone"), at("home", "tool")];
  assert.deepEqual(detoursTo([...paths, at("open", "x")], nobody, ownership(0o700)), [
    { closed: at("home"), needed },
  ]);
  assert.deepEqual(detoursTo(paths, nobody, ownership(0o711)), []);
  assert.deepEqual(detoursTo(paths, { uid: 7, gid: 0 }, ownership(0o710)), []);
  assert.deepEqual(detoursTo(paths, { uid: 0, gid: 7 }, ownership(0o700)), []);
  assert.deepEqual(detoursTo(paths, { uid: 0, gid: 7 }, ownership(0o077)).length, 1);
});

test("programPlaces() knows that programs have libraries beside them", () => {
  assert.deepEqual(programPlaces("/root/.tool/bin:/root/shims:relative:"), [
    "/root/.tool/bin",
    "/root/.tool/lib",
    "/root/shims",
  ]);
});
