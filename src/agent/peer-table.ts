/**
 * Who the subject of a certificate is: rows that the control plane sends as the xDS type
 * `typeUrls.peer` (docs/decisions/0003-standard-metrics.md). Rows of peers that are gone are kept
 * for their counters, oldest forgotten first.
 */
import type { XdsUpdate } from "../xds/feed.ts";
import { Struct } from "../wire/gen/ts/google/protobuf/struct.ts";
import {
  metadataKeys,
  unknownPeer,
  type PeerChange,
  type PeerDirectory,
  type PeerLabels,
} from "../telemetry/standard-metrics.ts";

const goneRowsMax = 10_000;

export class PeerTable implements PeerDirectory {
  readonly #rows = new Map<string, PeerLabels>();
  readonly #gone = new Map<string, PeerLabels>();
  readonly #followers = new Set<(change: PeerChange) => void>();
  #revision = 0;

  get revision(): number {
    return this.#revision;
  }

  resolve(instance: string): PeerLabels | undefined {
    return this.#rows.get(instance) ?? this.#gone.get(instance);
  }

  follow(onChange: (change: PeerChange) => void): () => void {
    this.#followers.add(onChange);
    onChange({ rows: new Map([...this.#gone, ...this.#rows]), forgotten: [] });
    return () => this.#followers.delete(onChange);
  }

  /** Throws when a row cannot be decoded; then nothing of the update counts. */
  apply({ resources, removed }: Pick<XdsUpdate, "resources" | "removed">): void {
    const rows = resources.map(({ name, bytes }) => [name, decodeRow(bytes)] as const);
    for (const name of removed) {
      const row = this.#rows.get(name);
      if (row === undefined) continue;
      this.#rows.delete(name);
      this.#gone.set(name, row);
    }
    for (const [name, row] of rows) {
      this.#rows.set(name, row);
      this.#gone.delete(name);
    }
    const forgotten: string[] = [];
    for (const name of this.#gone.keys()) {
      if (this.#gone.size <= goneRowsMax) break;
      this.#gone.delete(name);
      forgotten.push(name);
    }
    this.#revision += 1;
    for (const tell of this.#followers) tell({ rows: new Map(rows), forgotten });
  }
}

/** One row as the control plane sends it. */
export function encodePeer(labels: PeerLabels): Uint8Array {
  const fields = Object.fromEntries(
    peerKeys.map((key) => [metadataKeys[key], labels[key]] as const),
  );
  return Struct.encode(Struct.wrap(fields)).finish();
}

function decodeRow(bytes: Uint8Array): PeerLabels {
  const fields: Readonly<Record<string, unknown>> = Struct.unwrap(Struct.decode(bytes));
  const row: Record<keyof PeerLabels, string> = { ...unknownPeer };
  for (const key of peerKeys) {
    const value = fields[metadataKeys[key]];
    if (typeof value === "string" && value !== "") row[key] = value;
  }
  return row;
}

const peerKeys: readonly (keyof PeerLabels)[] = [
  "workload",
  "namespace",
  "app",
  "version",
  "canonicalService",
  "canonicalRevision",
  "cluster",
];
