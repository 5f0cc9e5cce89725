import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { FirstReady, isSettled, type Progress } from "./first-ready.ts";

const ready: Partial<Progress> = { state: "ready", isKnownReady: true };
const failing: Partial<Progress> = { state: "restarting", isFailing: true };

/** A mesh whose instances are as the test says, and what was told of it at which second. */
class Mesh {
  readonly clock = new FakeClock();
  readonly told: string[] = [];
  readonly moved: string[] = [];
  #all: ReadonlyMap<string, Progress> = new Map();
  readonly first: FirstReady;

  constructor() {
    const { clock } = this;
    this.first = new FirstReady({
      clock,
      progress: () => this.#all,
      onProgress: (ready, all) => this.moved.push(`${clock.monotonicMs()} ${ready}/${all}`),
      onReady: (late) => this.told.push(`${clock.monotonicMs()} ${late.join(",") || "all"}`),
    });
    this.first.start();
    this.first.onControlReady();
  }

  is(all: Readonly<Record<string, Partial<Progress>>>): void {
    this.#all = progressOf(all);
    this.first.follow();
  }
}

function progressOf(
  all: Readonly<Record<string, Partial<Progress>>>,
): ReadonlyMap<string, Progress> {
  const starting = {
    state: "starting",
    isKnownReady: false,
    isFailing: false,
    waitsFor: [],
  } as const;
  return new Map(
    Object.entries(all).map(([name, one]) => [name, { ...starting, why: () => name, ...one }]),
  );
}

test("FirstReady says at once when everything is ready, and only then once", () => {
  const mesh = new Mesh();
  mesh.is({ web: ready, api: {} });
  assert.deepEqual(mesh.told, []);
  mesh.is({ web: ready, api: ready });
  mesh.is({ web: ready, api: failing });
  mesh.is({ web: ready, api: ready });
  mesh.clock.advance(100_000);
  assert.deepEqual(mesh.told, ["0 all"]);
});

test("FirstReady says each second how many are ready, when that has changed, until it has told all", () => {
  const mesh = new Mesh();
  mesh.is({ web: {}, api: {}, db: {} });
  mesh.clock.advance(1500);
  mesh.is({ web: ready, api: {}, db: {} });
  mesh.clock.advance(2000);
  mesh.is({ web: ready, api: ready, db: {} });
  mesh.clock.advance(700);
  mesh.is({ web: ready, api: ready, db: ready });
  mesh.clock.advance(10_000);
  assert.deepEqual(mesh.moved, ["2000 1/3", "4000 2/3"]);
  assert.deepEqual(mesh.told, ["4200 all"]);
});

test("FirstReady does not wait for who fails again and again, nor for who waits for them", () => {
  const mesh = new Mesh();
  const waiting: Partial<Progress> = { state: "warming", waitsFor: ["typo"] };
  const after: Partial<Progress> = { state: "warming", waitsFor: ["waiting"] };
  mesh.is({ web: {}, typo: failing, waiting, after });
  mesh.clock.advance(1000);
  assert.deepEqual(mesh.told, []);
  mesh.is({ web: ready, typo: failing, waiting, after });
  mesh.clock.advance(1000);
  assert.deepEqual(mesh.told, ["1150 typo,waiting,after"]);
  mesh.is({ web: ready, typo: ready, waiting: ready, after: ready });
  assert.deepEqual(mesh.told, ["1150 typo,waiting,after", "2000 all"]);
});

test("FirstReady waits on while things become ready, and gives up when nothing moves", () => {
  const mesh = new Mesh();
  mesh.clock.advance(9000);
  mesh.is({ web: ready, slow: {} });
  mesh.clock.advance(9000);
  assert.deepEqual(mesh.told, []);
  mesh.clock.advance(1000);
  assert.deepEqual(mesh.told, ["19000 slow"]);
});

test("FirstReady says that the control plane fails", () => {
  const mesh = new Mesh();
  mesh.is({ web: {} });
  mesh.first.onControlFailing("the control plane ended with code 1");
  assert.deepEqual(mesh.told, ["0 the control plane ended with code 1,web"]);
  mesh.first.onControlReady();
  mesh.is({ web: ready });
  assert.deepEqual(mesh.told.slice(1), ["0 all"]);
});

test("isSettled() waits for who may still become ready, also behind one who does", () => {
  assert.equal(isSettled(progressOf({ a: ready, b: { waitsFor: ["a"] } })), false);
  assert.equal(isSettled(progressOf({ a: { state: "stopped" }, b: { waitsFor: ["a"] } })), true);
  assert.equal(isSettled(progressOf({ a: {}, b: failing })), false);
  assert.equal(isSettled(progressOf({})), true);
});
