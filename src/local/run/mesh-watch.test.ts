import assert from "node:assert/strict";
import {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { watchMeshFile } from "./mesh-watch.ts";

/** A watched file, seen by looking: notifications of the system come when they come. */
class Watched implements Disposable {
  readonly base: string = mkdtempSync(join(tmpdir(), "heddle-watch-"));
  readonly folder: string = join(this.base, "mesh");
  readonly file: string = join(this.folder, "heddle.yaml");
  readonly #clock = new FakeClock();
  #changes = 0;
  readonly #close: () => void;

  constructor() {
    mkdirSync(this.folder);
    writeFileSync(this.file, "one");
    this.#close = watchMeshFile(this.file, this.#clock, () => {
      this.#changes++;
    });
    assert.equal(this.changes(), 1, "what changed between reading and watching is read");
  }

  /** How many were told within two seconds. */
  changes(): number {
    this.#clock.advance(2000);
    const count = this.#changes;
    this.#changes = 0;
    return count;
  }

  [Symbol.dispose](): void {
    this.#close();
    rmSync(this.base, { recursive: true, force: true });
  }
}

test("watchMeshFile() sees writes in place, renames and removal", () => {
  using watched = new Watched();
  assert.equal(watched.changes(), 0);
  writeFileSync(watched.file, "other");
  assert.equal(watched.changes(), 1);
  writeFileSync(`${watched.file}.new`, "third");
  renameSync(`${watched.file}.new`, watched.file);
  assert.equal(watched.changes(), 1);
  unlinkSync(watched.file);
  assert.equal(watched.changes(), 1);
});

test("watchMeshFile() sees a folder that was taken away and comes back", () => {
  using watched = new Watched();
  rmSync(watched.folder, { recursive: true });
  assert.equal(watched.changes(), 1);
  mkdirSync(watched.folder);
  writeFileSync(watched.file, "again");
  assert.equal(watched.changes(), 1);
  writeFileSync(watched.file, "and again");
  assert.equal(watched.changes(), 1);
});

test("watchMeshFile() sees a change of what a link leads to", () => {
  using watched = new Watched();
  const target = join(watched.base, "elsewhere.yaml");
  writeFileSync(target, "there");
  unlinkSync(watched.file);
  symlinkSync(target, watched.file);
  assert.equal(watched.changes(), 1);
  writeFileSync(target, "there, changed");
  assert.equal(watched.changes(), 1);
});
