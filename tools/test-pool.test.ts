import assert from "node:assert/strict";
import { test } from "node:test";

import { runInPlaces, type Work } from "./test-pool.ts";

interface Asked {
  readonly kind?: string;
  readonly kindMax?: number;
  readonly isBeside?: boolean;
  readonly needs?: string;
  readonly fails?: boolean;
}

/** Works that end when they are told to, and what ran when. */
class Bench {
  readonly works: Work[] = [];
  readonly running = new Set<string>();
  readonly #ends = new Map<string, () => void>();

  add(name: string, { fails = false, kind = "any", kindMax = 9, ...asked }: Asked = {}): this {
    const run = async (): Promise<boolean> => {
      this.running.add(name);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#ends.set(name, resolve);
      await promise;
      this.running.delete(name);
      return !fails;
    };
    this.works.push({ name, kind, kindMax, ...asked, run });
    return this;
  }

  /** Ends a work, and tells which run once everything that follows from it has happened. */
  async end(name: string): Promise<string> {
    this.#ends.get(name)?.();
    await new Promise((resolve) => setImmediate(resolve));
    return [...this.running].join(" ");
  }
}

test("runInPlaces() begins works in their order, as many as there are places", async () => {
  const bench = new Bench().add("a").add("b").add("c").add("d");
  const all = runInPlaces(bench.works, { places: 2 });
  assert.equal(await bench.end(""), "a b");
  assert.equal(await bench.end("b"), "a c");
  assert.equal(await bench.end("a"), "c d");
  assert.equal(await bench.end("c"), "d");
  await bench.end("d");
  assert.deepEqual(await all, []);
});

test("runInPlaces() runs so many of a kind, and lets others go first meanwhile", async () => {
  const mesh = { kind: "mesh", kindMax: 1 };
  const bench = new Bench().add("a", mesh).add("b", mesh).add("c");
  const all = runInPlaces(bench.works, { places: 3 });
  assert.equal(await bench.end(""), "a c");
  assert.equal(await bench.end("a"), "c b");
  await bench.end("b");
  await bench.end("c");
  assert.deepEqual(await all, []);
});

test("runInPlaces() gives a place to no work beside others", async () => {
  const beside = { isBeside: true, kind: "long", kindMax: 1 };
  const bench = new Bench()
    .add("a", beside)
    .add("b", beside)
    .add("c", { kind: "long", kindMax: 1 });
  const all = runInPlaces(bench.works, { places: 1 });
  assert.equal(await bench.end(""), "a b c");
  for (const name of ["a", "b", "c"]) await bench.end(name);
  assert.deepEqual(await all, []);
});

test("runInPlaces() begins a work when what it needs is there, and names it where that has failed", async () => {
  const bench = new Bench()
    .add("build")
    .add("broken", { fails: true })
    .add("a", { needs: "build" })
    .add("b", { needs: "broken" })
    .add("c", { needs: "what was there before" });
  const all = runInPlaces(bench.works, { places: 9 });
  assert.equal(await bench.end(""), "build broken c");
  assert.equal(await bench.end("build"), "broken c a");
  for (const name of ["broken", "c", "a"]) await bench.end(name);
  assert.deepEqual(
    (await all).map(({ name }) => name),
    ["b"],
  );
});

test("runInPlaces() begins nothing more once it is stopped", async () => {
  const stop = new AbortController();
  const bench = new Bench().add("a").add("b");
  const all = runInPlaces(bench.works, { places: 1, stop: stop.signal });
  stop.abort();
  await bench.end("a");
  assert.deepEqual(
    (await all).map(({ name }) => name),
    ["b"],
  );
});
