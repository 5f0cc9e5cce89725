/**
 * Keeps the last good version of what is broken now. A resource is forgotten when its document is
 * gone from a file that could be read whole; while the file, or the document, is broken, it stays.
 */
import type { Problem } from "../../base/problem.ts";
import type { BrokenResource, ConfigResource } from "../../model/config-resource.ts";
import { resourceKey } from "../../model/config-resource.ts";
import { brokenDuplicate, duplicateProblem } from "../../model/documents.ts";
import type { FoundFile, FoundFiles } from "./config-files.ts";

export interface MergedFiles {
  readonly resources: readonly ConfigResource[];
  readonly broken: readonly BrokenResource[];
  readonly problems: readonly Problem[];
}

export class LastGood {
  /** What acted after the last merge, by key. */
  #acting: Map<string, ConfigResource>;

  /** `earlier`: what acted when the folder was last looked at, perhaps by another process. */
  constructor(earlier: readonly ConfigResource[] = []) {
    this.#acting = new Map(earlier.map((resource) => [resourceKey(resource), resource]));
  }

  merge(found: FoundFiles): MergedFiles {
    const problems: Problem[] = [...found.problems];
    const acting = new Map<string, ConfigResource>();
    const broken: BrokenResource[] = [];
    for (const { parsed } of found.files) {
      problems.push(...parsed.problems);
      for (const resource of parsed.resources) {
        const key = resourceKey(resource);
        const earlier = acting.get(key);
        if (earlier === undefined) {
          acting.set(key, resource);
          continue;
        }
        problems.push(duplicateProblem(resource, earlier.source));
        const refused = brokenDuplicate(resource, earlier);
        if (refused !== undefined) broken.push(refused);
      }
    }
    for (const file of found.files) broken.push(...this.#keep(file, acting, problems));
    this.#acting = acting;
    return { resources: [...acting.values()], broken, problems };
  }

  /** Puts back what `file` held before and cannot tell now; returns what has no good version. */
  #keep(
    { name, parsed }: FoundFile,
    acting: Map<string, ConfigResource>,
    problems: Problem[],
  ): BrokenResource[] {
    const kept: ConfigResource[] = [];
    const keep = (resource: ConfigResource): void => {
      acting.set(resourceKey(resource), resource);
      kept.push(resource);
      problems.push(keptProblem(resource));
    };
    if (!parsed.isComplete) {
      for (const [key, resource] of this.#acting) {
        if (resource.source.file === name && !acting.has(key)) keep(resource);
      }
    }
    return parsed.broken.filter((one) => {
      if (one.name === undefined) {
        return !kept.some((resource) => resource.kind === one.kind);
      }
      const key = resourceKey({ kind: one.kind, namespace: one.namespace, name: one.name });
      const current = acting.get(key);
      if (current !== undefined) {
        // Broken beside a good one of the same name in one file is a duplicate that disagrees.
        return current.source.file === name && parsed.resources.includes(current);
      }
      const earlier = this.#acting.get(key);
      if (earlier !== undefined) keep(earlier);
      return earlier === undefined;
    });
  }
}

function keptProblem({ kind, namespace, name, source }: ConfigResource): Problem {
  return {
    code: "config.last-good-serves",
    severity: "warning",
    path: "",
    message: "its document is broken now; the last good version keeps serving",
    hint: "mend the document, or remove it to remove the resource",
    source,
    resource: { kind, namespace, name },
  };
}
