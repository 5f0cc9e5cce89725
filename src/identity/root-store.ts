import { createPrivateKey } from "node:crypto";
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";

import { HeddleError, messageOf } from "../base/error.ts";
import { type RootCredentials, selfSignRoot } from "./authority.ts";
import { generateKey } from "./key.ts";

/**
 * Keeps the root of a mesh in `<stateDir>/ca` (0700): `root-key.pem` (0600) and `root-cert.pem`. Made
 * once and whole: another process that starts at the same moment finds all of it or nothing.
 */
export interface RootStoreOptions {
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly mesh: string;
  readonly nowMs: number;
}

/** Reads the mesh's root, or makes it. Throws `HeddleError` (`ca.…`) when it cannot be had. */
export function openRoot(options: RootStoreOptions): RootCredentials {
  const dir = join(options.stateDir, "ca");
  try {
    if (!existsSync(dir)) create(dir, options);
    return load(dir);
  } catch (error) {
    if (error instanceof HeddleError) throw error;
    throw new HeddleError("ca.store", `opening the root in ${dir}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function load(dir: string): RootCredentials {
  const keyFile = join(dir, "root-key.pem");
  const mode = statSync(keyFile).mode & 0o777;
  if ((mode & 0o077) !== 0) {
    const shown = mode.toString(8).padStart(4, "0");
    throw new HeddleError("ca.key-readable", `${keyFile} has mode ${shown}; it must be 0600`);
  }
  return {
    key: createPrivateKey(readFileSync(keyFile, "utf8")),
    certificatePem: readFileSync(join(dir, "root-cert.pem"), "utf8"),
  };
}

function create(dir: string, { stateDir, trustDomain, mesh, nowMs }: RootStoreOptions): void {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const draft = mkdtempSync(join(stateDir, ".ca-"));
  try {
    const { privateKey, privateKeyPem } = generateKey();
    writeDurably(join(draft, "root-key.pem"), privateKeyPem, 0o600);
    const certificatePem = selfSignRoot(privateKey, { trustDomain, mesh }, nowMs);
    writeDurably(join(draft, "root-cert.pem"), certificatePem, 0o644);
    renameSync(draft, dir);
  } catch (error) {
    rmSync(draft, { recursive: true, force: true });
    // Another process was quicker: its root is the mesh's.
    if (!existsSync(dir)) throw error;
  }
}

function writeDurably(file: string, text: string, mode: number): void {
  const fd = openSync(file, "wx", mode);
  try {
    writeSync(fd, text);
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
