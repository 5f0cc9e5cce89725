/**
 * The last configuration that the proxy accepted, on disk: what it starts from without a control
 * plane. One file, written some moments after a change, checked when read: a damaged file is no
 * configuration, never half of one.
 */
import { createHash } from "node:crypto";

import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { XdsResource } from "../../xds/feed.ts";
import type { StateFiles } from "../io/state-files.ts";

const fileName = "snapshot.bin";
const formatVersion = 2;
const writeDelayMs = 500;

export interface SnapshotStoreOptions {
  readonly files: StateFiles;
  readonly clock: Clock;
  readonly log: Logger;
  /** Node id: a snapshot made for another proxy is not used. */
  readonly nodeId: string;
}

export class SnapshotStore {
  readonly #options: SnapshotStoreOptions;
  readonly #types = new Map<string, Map<string, XdsResource>>();
  #acceptedAtMs: number | undefined;
  #confirmedAtMs: number | undefined;
  #timer: Timer | undefined;

  constructor(options: SnapshotStoreOptions) {
    this.#options = options;
    this.#load();
  }

  /** When the last update of what is held was accepted, exactly, whatever ended us; undefined when never. */
  get acceptedAtMs(): number | undefined {
    return this.#acceptedAtMs;
  }

  /**
   * When a control plane last stood behind what is held: the end of a stream that we saw end, or, when
   * we were killed before it did, the last update.
   */
  get confirmedAtMs(): number | undefined {
    return this.#confirmedAtMs;
  }

  /** The control plane had nothing newer until now: what is held is as good as just received. */
  confirm(): void {
    if (this.#types.size === 0) return;
    this.#confirmedAtMs = this.#options.clock.nowMs();
    this.#write(); // at once: nothing that comes later would tell the time
  }

  /** What is known of one type, by name. */
  resources(typeUrl: string): ReadonlyMap<string, XdsResource> {
    return this.#types.get(typeUrl) ?? new Map();
  }

  get typeUrls(): readonly string[] {
    return [...this.#types.keys()];
  }

  /** Takes an update that the proxy has accepted. */
  apply(typeUrl: string, resources: readonly XdsResource[], removed: readonly string[]): void {
    let known = this.#types.get(typeUrl);
    if (known === undefined) {
      known = new Map();
      this.#types.set(typeUrl, known);
    }
    for (const name of removed) known.delete(name);
    for (const resource of resources) known.set(resource.name, resource);
    this.#acceptedAtMs = this.#options.clock.nowMs();
    this.#confirmedAtMs = this.#acceptedAtMs;
    this.#timer ??= this.#options.clock.schedule(writeDelayMs, () => this.save());
  }

  /** Writes now, if anything waits to be written. */
  save(): void {
    if (this.#timer !== undefined) this.#write();
  }

  #write(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const { files, log } = this.#options;
    try {
      files.write(fileName, this.#encode());
    } catch (thrown) {
      log.error("the configuration cannot be kept on disk", { reason: messageOf(thrown) });
    }
  }

  /** Line 1: digest of the rest. Line 2: JSON head with the resources' lengths. Then their bytes. */
  #encode(): Buffer {
    const chunks: Uint8Array[] = [];
    const types = [...this.#types].map(([typeUrl, resources]) => ({
      typeUrl,
      resources: [...resources.values()].map(({ name, version, bytes }) => {
        chunks.push(bytes);
        return { name, version, bytes: bytes.length };
      }),
    }));
    const { nodeId } = this.#options;
    const [acceptedAtMs, confirmedAtMs] = [this.#acceptedAtMs ?? 0, this.#confirmedAtMs ?? 0];
    const head = { format: formatVersion, nodeId, acceptedAtMs, confirmedAtMs, types };
    const body = Buffer.concat([Buffer.from(`${JSON.stringify(head)}\n`), ...chunks]);
    return Buffer.concat([Buffer.from(`${digestOf(body)}\n`), body]);
  }

  #load(): void {
    const { files, log, nodeId } = this.#options;
    const file = files.read(fileName);
    if (file === undefined) return;
    const reason = this.#decode(file, nodeId);
    if (reason === undefined) return;
    this.#types.clear();
    log.warn("the configuration on disk is not used", { reason });
  }

  /** Undefined when it was taken, otherwise why not. */
  #decode(file: Buffer, nodeId: string): string | undefined {
    const digestEnd = file.indexOf("\n");
    const body = file.subarray(digestEnd + 1);
    if (digestEnd < 0 || file.toString("latin1", 0, digestEnd) !== digestOf(body)) {
      return "it is damaged";
    }
    const headEnd = body.indexOf("\n");
    const head: unknown = JSON.parse(body.toString("utf8", 0, headEnd));
    if (!isHead(head) || head.format !== formatVersion) return "it is of another version";
    if (head.nodeId !== nodeId) return `it is for ${head.nodeId}`;
    let offset = headEnd + 1;
    for (const { typeUrl, resources } of head.types) {
      const byName = new Map<string, XdsResource>();
      for (const { name, version, bytes } of resources) {
        byName.set(name, { name, version, bytes: body.subarray(offset, offset + bytes) });
        offset += bytes;
      }
      this.#types.set(typeUrl, byName);
    }
    this.#acceptedAtMs = head.acceptedAtMs;
    this.#confirmedAtMs = head.confirmedAtMs;
    return undefined;
  }
}

interface SnapshotHead {
  readonly format: number;
  readonly nodeId: string;
  readonly acceptedAtMs: number;
  readonly confirmedAtMs: number;
  readonly types: readonly {
    readonly typeUrl: string;
    readonly resources: readonly {
      readonly name: string;
      readonly version: string;
      readonly bytes: number;
    }[];
  }[];
}

/** The digest has been checked: the file is one that we wrote. */
function isHead(value: unknown): value is SnapshotHead {
  return typeof value === "object" && value !== null && "format" in value && "types" in value;
}

function digestOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
