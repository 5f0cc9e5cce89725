/**
 * Certificates and trust anchors that lie in files beside the proxy, under the names that Istio gives
 * them: `file-cert:CHAIN~KEY` and `file-root:AUTHORITIES`; and lists of what was taken back, which have a
 * name of ours: `file-crl:LIST`. They go to the proxy of this process and to nobody else; whoever may
 * configure the proxy decides which are read.
 */
import { closeSync, constants, fstatSync, openSync, readSync, statSync } from "node:fs";

import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import { isFileSecret, type SecretSource, type TlsSecret } from "../../net/secret-source.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";

export interface FileSecretsOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
  /** Every other secret. */
  readonly others: SecretSource;
}

const namesMax = 256;
const bytesMax = 1024 * 1024;
/** Files are looked at again so often. */
const lookMs = 10_000;

export class FileSecrets implements SecretSource {
  readonly #options: FileSecretsOptions;
  readonly #known = new Map<string, KnownFile>();
  readonly #listeners = new Set<(name: string) => void>();
  /** Why a name that is known cannot be read: told once, not with every look. */
  readonly #reasons = new Map<string, string>();
  /** Names that are not read at all; as many are told of as are read. */
  readonly #refused = new Set<string>();
  readonly #refusals: Counter;
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(options: FileSecretsOptions) {
    this.#options = options;
    this.#refusals = options.metrics.counter(
      "heddle_file_secrets_refused_total",
      "Certificates in files that are not read, because of their paths or because there are too many.",
    );
  }

  get(name: string): TlsSecret | undefined {
    const paths = pathsOf(name);
    if (paths === undefined) {
      if (isFileSecret(name)) this.#refuse(name, "a path is not absolute, or holds a ~");
      return this.#options.others.get(name);
    }
    const known = this.#known.get(name);
    if (known !== undefined) return known.secret;
    if (this.#isClosed) return undefined;
    if (this.#known.size >= namesMax) {
      this.#refuse(name, `${namesMax} others are read already`);
      return undefined;
    }
    const read = this.#read(name, paths);
    this.#known.set(name, read);
    this.#timer ??= this.#options.clock.schedule(lookMs, () => this.#lookAgain());
    return read.secret;
  }

  keepOnly(names: ReadonlySet<string>): void {
    for (const name of this.#known.keys()) {
      if (names.has(name)) continue;
      this.#known.delete(name);
      this.#reasons.delete(name);
    }
    for (const name of this.#refused) if (!names.has(name)) this.#refused.delete(name);
    for (const name of names) {
      // One that there was no room for, or that somebody asked for before it was said to be wanted.
      const isLate = pathsOf(name) !== undefined && !this.#known.has(name);
      if (!isLate || this.#known.size >= namesMax) continue;
      this.#refused.delete(name);
      if (this.get(name) !== undefined) this.#tell(name);
    }
  }

  onChange(listener: (name: string) => void): () => void {
    this.#listeners.add(listener);
    const stop = this.#options.others.onChange(listener);
    return () => {
      this.#listeners.delete(listener);
      stop();
    };
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #lookAgain(): void {
    this.#timer = this.#options.clock.schedule(lookMs, () => this.#lookAgain());
    for (const [name, known] of this.#known) {
      if (known.state !== undefined && known.state === stateIfAny(known.paths)) continue;
      const read = this.#read(name, known.paths, known.secret);
      this.#known.set(name, read);
      if (JSON.stringify(read.secret) !== JSON.stringify(known.secret)) this.#tell(name);
    }
  }

  #tell(name: string): void {
    for (const listener of this.#listeners) listener(name);
  }

  /** What cannot be read, or is being written, keeps what it held. */
  #read(name: string, paths: FilePaths, before?: TlsSecret): KnownFile {
    try {
      // First: what is written meanwhile is seen with the next look.
      const state = stateOf(paths);
      const secret = readSecret(paths);
      this.#reasons.delete(name);
      return { paths, state, secret };
    } catch (thrown) {
      const reason = messageOf(thrown);
      if (this.#reasons.get(name) !== reason) {
        this.#options.log.warn("a certificate in a file cannot be read", { secret: name, reason });
      }
      this.#reasons.set(name, reason);
      return { paths, state: undefined, secret: before };
    }
  }

  #refuse(secret: string, reason: string): void {
    if (this.#refused.has(secret) || this.#refused.size >= namesMax) return;
    this.#refused.add(secret);
    this.#refusals.add(1);
    this.#options.log.warn("a certificate in a file is not read", { secret, reason });
  }
}

type FilePaths =
  | { readonly chain: string; readonly key: string }
  | { readonly roots: string }
  | { readonly list: string };

interface KnownFile {
  readonly paths: FilePaths;
  /** What the files were like when they were read; undefined where that failed: it is tried with each look. */
  readonly state: string | undefined;
  readonly secret: TlsSecret | undefined;
}

/** Undefined where they cannot be looked at: a folder is closed, links go in a circle. */
function stateIfAny(paths: FilePaths): string | undefined {
  try {
    return stateOf(paths);
  } catch {
    return undefined;
  }
}

/** Differs where a file was written, or another took its place, also behind a link. Throws for what has none. */
function stateOf(paths: FilePaths): string {
  return Object.values(paths)
    .map((path: string) => {
      const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
      return [dev, ino, size, mtimeNs, ctimeNs].join(" ");
    })
    .join();
}

/** Undefined for the name of another secret. */
function pathsOf(name: string): FilePaths | undefined {
  const [, roots] = /^file-root:(\/.+)$/s.exec(name) ?? [];
  if (roots !== undefined) return { roots };
  const [, list] = /^file-crl:(\/.+)$/s.exec(name) ?? [];
  if (list !== undefined) return { list };
  const [, chain, key] = /^file-cert:(\/[^~]+)~(\/[^~]+)$/s.exec(name) ?? [];
  return chain === undefined || key === undefined ? undefined : { chain, key };
}

function readSecret(paths: FilePaths): TlsSecret {
  if ("roots" in paths) return { kind: "validation", trustedCaPem: readCertificates(paths.roots) };
  if ("list" in paths) return { kind: "revocations", crlPem: readRevocations(paths.list) };
  const { chain, key } = paths;
  return { kind: "certificate", chainPem: readCertificates(chain), privateKeyPem: readPem(key) };
}

/**
 * Certificates alone: `/config_dump` shows them, also to the application, and a file that somebody names
 * may hold a key beside them, or nothing else.
 */
function readCertificates(path: string): string {
  return readBlocks(path, "(?:X509 |TRUSTED )?CERTIFICATE", "certificate");
}

/** The same of lists. */
function readRevocations(path: string): string {
  return readBlocks(path, "X509 CRL", "list of revocations");
}

function readBlocks(path: string, label: string, what: string): string {
  const text = readPem(path);
  const [begin, end] = ["BEGIN", "END"].map((word) => `^-----${word} ${label}-----[ \\t]*$`);
  const begun = text.match(new RegExp(`${begin}`, "gm")) ?? [];
  const whole = text.match(new RegExp(`${begin}[^-]+${end}`, "gm"));
  if (whole === null) throw new Error(`${path} holds no ${what} in PEM`);
  if (whole.length < begun.length) throw new Error(`${path} ends within a ${what}`);
  return `${whole.join("\n")}\n`;
}

/** A file that is one: a pipe or a device would stop everything, or never end. */
function readPem(path: string): string {
  // Without waiting for whoever might write to a pipe.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const { size } = regularOf(fd, path);
    const bytes = Buffer.alloc(size);
    const text = bytes.toString("latin1", 0, readSync(fd, bytes, 0, size, 0));
    if (!text.includes("-----BEGIN ")) throw new Error(`${path} holds nothing in PEM`);
    return text;
  } finally {
    closeSync(fd);
  }
}

function regularOf(fd: number, path: string): { readonly size: number } {
  const found = fstatSync(fd);
  if (!found.isFile()) throw new Error(`${path} is no file`);
  if (found.size > bytesMax) throw new Error(`${path} has more than ${bytesMax} bytes`);
  return found;
}
