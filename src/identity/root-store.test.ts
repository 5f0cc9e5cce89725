import assert from "node:assert/strict";
import {
  chmodSync,
  cpSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { openRoot } from "./root-store.ts";

function withStateDir(run: (stateDir: string) => void): void {
  const dir = mkdtempSync(join(tmpdir(), "heddle-root-"));
  try {
    run(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const open = (stateDir: string): string =>
  openRoot({ stateDir, trustDomain: "cluster.local", mesh: "shop", nowMs: Date.now() })
    .certificatePem;

test("openRoot() makes one root, keeps it, and lets nobody else read its key", () => {
  withStateDir((stateDir) => {
    const first = open(stateDir);
    assert.equal(open(stateDir), first);
    const keyFile = join(stateDir, "ca", "root-key.pem");
    assert.equal(statSync(keyFile).mode & 0o777, 0o600);
    assert.equal(statSync(join(stateDir, "ca")).mode & 0o777, 0o700);
    chmodSync(keyFile, 0o644);
    assert.throws(() => open(stateDir), { code: "ca.key-readable" });
  });
});

test("openRoot() takes over a root that was there before it kept fingerprints", () => {
  withStateDir((stateDir) => {
    const first = open(stateDir);
    rmSync(join(stateDir, "root-fingerprint"));
    assert.equal(open(stateDir), first);
    assert.match(readFileSync(join(stateDir, "root-fingerprint"), "utf8"), /^[0-9a-f]{64}\n$/);
  });
});

const losses: Readonly<Record<string, (ca: string) => void>> = {
  "ca.root-missing": (ca) => rmSync(ca, { recursive: true }),
  "ca.root-damaged": (ca) => writeFileSync(join(ca, "root-key.pem"), "-----BEGIN"),
  "ca.root-replaced": (ca) => {
    rmSync(ca, { recursive: true });
    const other = mkdtempSync(join(tmpdir(), "heddle-root-"));
    open(other);
    renameSync(join(other, "ca"), ca);
    rmSync(other, { recursive: true });
  },
};

for (const [code, lose] of Object.entries(losses)) {
  test(`openRoot() says ${code} and makes no new root`, () => {
    withStateDir((stateDir) => {
      const first = open(stateDir);
      const [ca, kept] = [join(stateDir, "ca"), join(stateDir, "kept")];
      cpSync(ca, kept, { recursive: true });
      lose(ca);
      const message = /put it back, or delete \S+ while the mesh is down to begin with a new root$/;
      for (let i = 0; i < 2; i++) assert.throws(() => open(stateDir), { code, message });
      rmSync(ca, { recursive: true, force: true });
      renameSync(kept, ca);
      assert.equal(open(stateDir), first);
    });
  });
}

test("openRoot() names the part that is gone or damaged", () => {
  withStateDir((stateDir) => {
    open(stateDir);
    const file = join(stateDir, "ca", "root-cert.pem");
    writeFileSync(file, "");
    assert.throws(() => open(stateDir), {
      code: "ca.root-damaged",
      message: /ca\/root-cert\.pem is damaged: it does not hold a certificate; put it back/,
    });
    rmSync(file);
    assert.throws(() => open(stateDir), {
      code: "ca.root-missing",
      message: /ca\/root-cert\.pem, part of the root, is gone; put it back/,
    });
  });
});
