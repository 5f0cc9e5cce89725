/**
 * The last good versions of what the folder held, on disk: a control plane that starts while a file
 * is broken knows what the file said before, and denies no one for want of it.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

import type { ConfigResource } from "../../model/config-resource.ts";
import { resourceKey } from "../../model/config-resource.ts";
import { parseDocuments } from "../../model/documents.ts";

interface Stored {
  readonly file: string;
  readonly line: number;
  readonly namespace: string;
  readonly text: string;
}

export interface LastGoodStore {
  load(): readonly ConfigResource[];
  /** Replaces what is stored, whole or not at all. Throws when the disk does not let it. */
  save(resources: readonly ConfigResource[]): void;
}

/** Kept in one file (0600). What cannot be read counts as nothing: then security kinds deny. */
export function lastGoodStore(path: string): LastGoodStore {
  return {
    load() {
      const resources = read(path).flatMap((one) => placed(one));
      return [...new Map(resources.map((one) => [resourceKey(one), one])).values()];
    },
    save(resources) {
      const stored = resources.map(({ source: { file, line }, namespace, text }): Stored => {
        return { file, line, namespace, text };
      });
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      writeFileSync(`${path}.new`, JSON.stringify({ version: 1, resources: stored }), {
        mode: 0o600,
      });
      renameSync(`${path}.new`, path);
    },
  };
}

function read(path: string): readonly Stored[] {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value !== "object" || value === null || !("resources" in value)) return [];
    return Array.isArray(value.resources) ? value.resources.filter(isStored) : [];
  } catch {
    return []; // none yet, or cut short
  }
}

const linesMax = 10_000_000;

function isStored(value: unknown): value is Stored {
  if (typeof value !== "object" || value === null) return false;
  if (!("file" in value && "line" in value && "namespace" in value && "text" in value))
    return false;
  const { file, line, namespace, text } = value;
  const isLine = Number.isInteger(line) && Number(line) >= 1 && Number(line) <= linesMax;
  return isLine && [file, namespace, text].every((one) => typeof one === "string");
}

/** The resource as it stood in its file: empty lines before it put it on its own line again. */
function placed({ file, line, namespace, text }: Stored): readonly ConfigResource[] {
  const alone = parseDocuments(text, file, namespace).resources;
  const above = line - (alone[0]?.source.line ?? 1);
  if (above <= 0 || alone.length !== 1) return alone;
  return parseDocuments("\n".repeat(above) + text, file, namespace).resources;
}
