import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import type { Problem, ResourceRef } from "../../base/problem.ts";
import { messageOf } from "../../base/error.ts";
import { type ConfigResource, resourceKey } from "../../model/config-resource.ts";
import { parseDocuments } from "../../model/documents.ts";

/**
 * Keeps what was applied as YAML, one file per resource, so that it survives a restart and can be
 * read and carried elsewhere. A file is replaced whole or not at all.
 */
export class AppliedStore {
  readonly #dir: string;

  constructor(dir: string) {
    this.#dir = dir;
    mkdirSync(dir, { recursive: true, mode: 0o700 });
  }

  /** Everything stored. What cannot be read (a newer version wrote it) is a problem, never silence. */
  load(): { readonly resources: readonly ConfigResource[]; readonly problems: readonly Problem[] } {
    const resources: ConfigResource[] = [];
    const problems: Problem[] = [];
    for (const name of readdirSync(this.#dir).toSorted()) {
      if (!name.endsWith(".yaml")) continue;
      const file = join(this.#dir, name);
      try {
        const parsed = parseDocuments(readFileSync(file, "utf8"), file);
        problems.push(...parsed.problems);
        // A document may be a list of several; each has a file with its own name.
        resources.push(...parsed.resources.filter((resource) => fileNameOf(resource) === name));
      } catch (error) {
        const message = `reading ${file}: ${messageOf(error)}`;
        problems.push({ code: "apply.unreadable", severity: "error", path: "", message });
      }
    }
    return { resources, problems };
  }

  /** Stores the resource and gives it back with its place in the store. */
  save(resource: ConfigResource): ConfigResource {
    const name = fileNameOf(resource);
    const file = join(this.#dir, name);
    const draft = `${file}.new`;
    writeFileSync(draft, resource.text, { mode: 0o600 });
    renameSync(draft, file);
    const stored = parseDocuments(resource.text, file).resources;
    return stored.find((one) => resourceKey(one) === resourceKey(resource)) ?? resource;
  }

  remove(ref: ResourceRef): void {
    rmSync(join(this.#dir, fileNameOf(ref)), { force: true });
  }
}

/** Names are at most 253 characters each; a file name at most 255 in all. */
function fileNameOf({ kind, namespace, name }: ResourceRef): string {
  const plain = `${kind}.${namespace}.${name}`;
  const digest = createHash("sha256").update(resourceKey({ kind, namespace, name })).digest("hex");
  return `${plain.slice(0, 200)}.${digest.slice(0, 12)}.yaml`;
}
