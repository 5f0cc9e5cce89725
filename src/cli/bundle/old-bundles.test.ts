import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { removeOldBundles, touchBundle } from "./old-bundles.ts";

const hourMs = 3_600_000;
const names = ["a", "b", "c", "d", "e"].map((letter) => letter.repeat(24));
const [newest = "", second = "", third = "", fourth = "", fifth = ""] = names;

/** Bundles of which each was last used a day before the one before it; the first just now. */
function placeOf(t: TestContext, clock: FakeClock): string {
  const place = mkdtempSync(join(tmpdir(), "heddle-bundles-"));
  t.after(() => rmSync(place, { recursive: true }));
  for (const [days, name] of names.entries()) makeOld(place, name, days * 25, clock);
  return place;
}

function makeOld(place: string, name: string, hours: number, clock: FakeClock): void {
  mkdirSync(join(place, name));
  writeFileSync(join(place, name, "main.js"), "");
  const seconds = (clock.nowMs() - hours * hourMs) / 1000;
  utimesSync(join(place, name), seconds, seconds);
}

function left(place: string): readonly string[] {
  return readdirSync(place).toSorted();
}

test("removeOldBundles() keeps three, and what was used within a day", (t) => {
  const clock = new FakeClock();
  const place = placeOf(t, clock);
  makeOld(place, "f".repeat(24), 23, clock);
  makeOld(place, "0".repeat(24), 0, clock);
  removeOldBundles(place, join(place, "0".repeat(24)), clock);
  assert.deepEqual(left(place), ["0".repeat(24), newest, "f".repeat(24)].toSorted());
});

test("removeOldBundles() keeps the one in use, whatever its age, and one that was opened again", (t) => {
  const clock = new FakeClock();
  const place = placeOf(t, clock);
  touchBundle(join(place, fourth), clock);
  removeOldBundles(place, join(place, fifth), clock);
  assert.deepEqual(left(place), [newest, fourth, fifth]);
});

test("removeOldBundles() leaves one that a process runs from", async (t) => {
  const clock = new FakeClock();
  const place = placeOf(t, clock);
  const child = spawn(
    process.execPath,
    ["-e", "setInterval(() => {}, 1e6)", join(place, fifth, "main.js")],
    { stdio: "ignore" },
  );
  t.after(() => child.kill("SIGKILL"));
  await new Promise((resolve) => child.once("spawn", resolve));
  removeOldBundles(place, join(place, newest), clock);
  assert.deepEqual(left(place), [newest, second, third, fifth]);
});

test("removeOldBundles() takes away what was never finished, and nothing else", (t) => {
  const clock = new FakeClock();
  const place = mkdtempSync(join(tmpdir(), "heddle-bundles-"));
  t.after(() => rmSync(place, { recursive: true }));
  makeOld(place, ".building-old", 48, clock);
  makeOld(place, ".building-now", 1, clock);
  makeOld(place, "notes", 9000, clock);
  makeOld(place, newest, 0, clock);
  removeOldBundles(place, join(place, newest), clock);
  assert.deepEqual(left(place), [".building-now", newest, "notes"].toSorted());
});
