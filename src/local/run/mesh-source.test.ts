import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { formatProblem } from "../../base/problem.ts";
import { findMeshFile, readMeshFile } from "./mesh-source.ts";

/** What is said of a heddle.yaml that `make` puts into an empty folder. */
function problemOf(make: (path: string) => void): string {
  const folder = mkdtempSync(join(tmpdir(), "heddle-source-"));
  try {
    make(join(folder, "heddle.yaml"));
    const { value, problems } = readMeshFile(findMeshFile(folder));
    assert.equal(value, undefined);
    const [problem, ...others] = problems;
    assert.deepEqual(others, []);
    assert.deepEqual([problem?.source?.line, problem?.source?.column], [1, 1]);
    return `${problem?.message}; ${problem?.hint}`;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("readMeshFile() says why a file cannot be read, and reads no pipe, device or giant", () => {
  const start = "the file cannot be read: ";
  assert.equal(
    problemOf((path) => mkdirSync(path)),
    `${start}it is no regular file; put a text file there`,
  );
  assert.equal(
    problemOf((path) => symlinkSync("/dev/zero", path)),
    `${start}it is no regular file; put a text file there`,
  );
  assert.equal(
    problemOf((path) => symlinkSync("heddle.yaml", path)),
    `${start}it is a link that leads to itself; put a text file there`,
  );
  assert.equal(
    problemOf((path) => symlinkSync("nowhere", path)),
    `${start}it is not there; put it back; what it said last goes on`,
  );
  assert.equal(
    problemOf((path) => {
      writeFileSync(path, "");
      truncateSync(path, 100 * 1024 * 1024);
    }),
    `${start}it has 104857600 bytes, more than 4194304; it only says what runs; Istio YAML goes into files of its own`,
  );
});

test("readMeshFile() says that another file of the folder is not read", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-source-"));
  try {
    const compose = join(folder, "docker-compose.yml");
    writeFileSync(join(folder, "heddle.yaml"), "workloads: []\n");
    writeFileSync(compose, "services: {}\n");
    const { value, problems } = readMeshFile(findMeshFile(folder));
    assert(value !== undefined);
    assert.deepEqual(problems.map(formatProblem), [
      `${compose}:1:1: warning heddle-file.not-read: docker-compose.yml is not read: heddle.yaml says what runs; take one of them out of the folder`,
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("findMeshFile() names the folder that holds nothing to run", () => {
  assert.throws(() => findMeshFile("/proc/self/nowhere"), /there is no \/proc\/self\/nowhere/);
  assert.throws(
    () => findMeshFile("/proc/self"),
    /\/proc\/self holds no heddle\.yaml or compose\.yaml/,
  );
});
