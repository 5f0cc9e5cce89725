import { createPrivateKey, X509Certificate } from "node:crypto";
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
 * once and whole: another process that starts at the same moment finds all of it or nothing. Its
 * fingerprint stands beside the folder: a root that is lost or another is an error, never silently a
 * new root, since proxies that hold certificates of both would refuse each other.
 */
export interface RootStoreOptions {
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly mesh: string;
  readonly nowMs: number;
}

/** Reads the mesh's root, or makes it. Throws `HeddleError` (`ca.…`) when it cannot be had. */
export function openRoot(options: RootStoreOptions): RootCredentials {
  const { stateDir } = options;
  const dir = join(stateDir, "ca");
  const fingerprintFile = join(stateDir, "root-fingerprint");
  const remedy = `put it back, or delete ${stateDir} while the mesh is down to begin with a new root`;
  try {
    const known = readText(fingerprintFile)?.trim();
    if (!existsSync(dir)) {
      if (known !== undefined) {
        throw new HeddleError(
          "ca.root-missing",
          `${dir} is gone, and with it the root that this mesh's certificates come from; ${remedy}`,
        );
      }
      create(dir, options);
    }
    const { root, fingerprint } = load(dir, remedy);
    if (known !== undefined && known !== fingerprint) {
      throw new HeddleError(
        "ca.root-replaced",
        `${dir} holds another root (SHA-256 ${fingerprint}) than this mesh's certificates come from (${known}); ${remedy}`,
      );
    }
    if (known === undefined) writeDurably(fingerprintFile, `${fingerprint}\n`, 0o600);
    return root;
  } catch (error) {
    if (error instanceof HeddleError) throw error;
    throw new HeddleError("ca.store", `opening the root in ${dir}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function readText(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

function load(
  dir: string,
  remedy: string,
): { readonly root: RootCredentials; readonly fingerprint: string } {
  const [keyFile, certificateFile] = [join(dir, "root-key.pem"), join(dir, "root-cert.pem")];
  const mode = existsSync(keyFile) ? statSync(keyFile).mode & 0o777 : 0;
  if ((mode & 0o077) !== 0) {
    const shown = mode.toString(8).padStart(4, "0");
    throw new HeddleError("ca.key-readable", `${keyFile} has mode ${shown}; it must be 0600`);
  }
  const key = readOr(keyFile, "a private key", createPrivateKey);
  const certificate = readOr(certificateFile, "a certificate", (pem) => new X509Certificate(pem));
  return {
    root: { key, certificatePem: readFileSync(certificateFile, "utf8") },
    fingerprint: certificate.fingerprint256.replaceAll(":", "").toLowerCase(),
  };

  function readOr<Content>(file: string, what: string, read: (pem: string) => Content): Content {
    const pem = readText(file);
    if (pem === undefined) {
      throw new HeddleError("ca.root-missing", `${file}, part of the root, is gone; ${remedy}`);
    }
    try {
      return read(pem);
    } catch (cause) {
      const message = `${file} is damaged: it does not hold ${what}; ${remedy}`;
      throw new HeddleError("ca.root-damaged", message, { cause });
    }
  }
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
