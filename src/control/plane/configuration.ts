import type { Problem, ResourceRef } from "../../base/problem.ts";
import {
  type BrokenResource,
  type ConfigResource,
  resourceKey,
} from "../../model/config-resource.ts";
import { parseDocuments } from "../../model/documents.ts";
import { kindAskedFor } from "../../model/kinds.ts";
import type { DirectoryContent } from "../config-directory.ts";
import type {
  AppliedResource,
  ApplyOptions,
  ConfigResource as ShownResource,
  ResourceFilter,
} from "../control-view.ts";
import type { AppliedStore } from "./applied-store.ts";

/** What a source of configuration holds at one moment. */
export type ConfigSet = DirectoryContent;

/** Something an operator asked for, checked and not done yet. */
export interface Plan {
  readonly applied: readonly AppliedResource[];
  readonly save: readonly ConfigResource[];
  readonly remove: readonly ResourceRef[];
  readonly problems: readonly Problem[];
}

/**
 * The mesh's configuration: what the folder's files say and what was applied. Nothing can be applied
 * under the name of what a file holds; a file that takes the name of what was applied came later, so
 * what was applied goes on acting, and the file's is a problem.
 */
export class Configuration {
  readonly #store: AppliedStore;
  readonly #applied = new Map<string, ConfigResource>();
  readonly #storeProblems: readonly Problem[];
  #files: ConfigSet = { resources: [], broken: [], problems: [] };
  #merged: ConfigSet | undefined;

  constructor(store: AppliedStore) {
    this.#store = store;
    const { resources, problems } = store.load();
    this.#storeProblems = problems;
    for (const resource of resources) this.#applied.set(resourceKey(resource), resource);
  }

  setFiles(files: ConfigSet): void {
    this.#files = files;
    this.#merged = undefined;
  }

  get current(): ConfigSet {
    this.#merged ??= this.#merge([...this.#applied.values()]);
    return this.#merged;
  }

  /** Checks a text to be applied against itself and the files. */
  plan(yaml: string, options: ApplyOptions): Plan {
    const parsed = parseDocuments(yaml, options.file ?? "-", options.namespace);
    const problems: Problem[] = [...parsed.problems];
    const applied: AppliedResource[] = [];
    for (const resource of parsed.resources) {
      const owner = this.#applied.has(resourceKey(resource)) ? undefined : this.#inFiles(resource);
      if (owner !== undefined) problems.push(ownedByFile(resource, owner));
      applied.push({ ref: refOf(resource), change: this.#changeOf(resource) });
    }
    if (parsed.resources.length === 0 && problems.length === 0) {
      problems.push({ code: "apply.empty", severity: "error", path: "", message: "no resources" });
    }
    return { applied, save: parsed.resources, remove: [], problems };
  }

  planRemoval(ref: ResourceRef): Plan {
    const owner = this.#inFiles(ref);
    const known = this.#applied.get(resourceKey(ref));
    if (known === undefined && owner !== undefined) {
      return { applied: [], save: [], remove: [], problems: [ownedByFile(ref, owner)] };
    }
    if (known === undefined) {
      const message = "no such resource";
      const problem = { code: "apply.not-found", severity: "error", path: "", message } as const;
      return { applied: [], save: [], remove: [], problems: [{ ...problem, resource: ref }] };
    }
    return {
      applied: [{ ref: refOf(ref), change: "removed" }],
      save: [],
      remove: [ref],
      problems: [],
    };
  }

  /** The configuration as `plan` would leave it. */
  preview(plan: Plan): ConfigSet {
    const applied = new Map(this.#applied);
    for (const resource of plan.save) applied.set(resourceKey(resource), resource);
    for (const ref of plan.remove) applied.delete(resourceKey(ref));
    return this.#merge([...applied.values()]);
  }

  /** Stores it; throws when the disk does not let us, and then nothing of it counts. */
  carryOut(plan: Plan): void {
    for (const resource of plan.save) {
      this.#applied.set(resourceKey(resource), this.#store.save(resource));
    }
    for (const ref of plan.remove) {
      this.#store.remove(ref);
      this.#applied.delete(resourceKey(ref));
    }
    this.#merged = undefined;
  }

  show(filter: ResourceFilter, problems: readonly Problem[]): readonly ShownResource[] {
    const byKey = new Map<string, Problem[]>();
    for (const problem of problems) {
      if (problem.resource === undefined) continue;
      const key = resourceKey(problem.resource);
      byKey.set(key, [...(byKey.get(key) ?? []), problem]);
    }
    return this.current.resources
      .filter((resource) => matches(resource, filter))
      .map((resource) => ({
        ref: refOf(resource),
        apiVersion: resource.apiVersion,
        labels: resource.labels,
        annotations: resource.annotations,
        spec: resource.spec,
        source: resource.source,
        origin: this.#applied.has(resourceKey(resource)) ? "applied" : "file",
        yaml: resource.text,
        problems: byKey.get(resourceKey(resource)) ?? [],
      }));
  }

  #merge(applied: readonly ConfigResource[]): ConfigSet {
    const { resources, broken, problems } = this.#files;
    const taken = new Map(applied.map((resource) => [resourceKey(resource), resource]));
    const isTaken = ({ kind, namespace, name }: Claimed): boolean =>
      name !== undefined && taken.has(resourceKey({ kind, namespace, name }));
    const refused = resources.flatMap((resource) => {
      const acting = taken.get(resourceKey(resource));
      return acting === undefined ? [] : [shadowedByApplied(resource, acting)];
    });
    return {
      resources: [...resources.filter((one) => !isTaken(one)), ...applied],
      // Of a security kind, too, what was applied is the last good version.
      broken: broken.filter((one) => !isTaken(one)),
      problems: [...problems, ...this.#storeProblems, ...refused],
    };
  }

  #inFiles(ref: ResourceRef): Place | undefined {
    const key = resourceKey(ref);
    const whole = this.#files.resources.find((resource) => resourceKey(resource) === key);
    if (whole !== undefined) return whole;
    return this.#files.broken.find(
      ({ kind, namespace, name }) =>
        name !== undefined && resourceKey({ kind, namespace, name }) === key,
    );
  }

  #changeOf(resource: ConfigResource): AppliedResource["change"] {
    const known = this.#applied.get(resourceKey(resource));
    if (known === undefined) return "created";
    return known.text === resource.text ? "unchanged" : "configured";
  }
}

type Place = Pick<ConfigResource, "source">;
type Claimed = Pick<BrokenResource, "kind" | "namespace" | "name">;

export function refOf({ kind, namespace, name }: ResourceRef): ResourceRef {
  return { kind, namespace, name };
}

function ownedByFile(ref: ResourceRef, { source }: Place): Problem {
  return {
    code: "apply.in-file",
    severity: "error",
    path: "",
    message: `is written in ${source.file}:${source.line}, which decides`,
    hint: "change it there",
    resource: refOf(ref),
  };
}

function shadowedByApplied(resource: ConfigResource, acting: ConfigResource): Problem {
  const { kind, namespace, name, source } = resource;
  const place = `${acting.source.file}:${acting.source.line}`;
  return {
    code: "apply.shadowed",
    severity: "error",
    path: "metadata.name",
    message: `${kind} ${namespace}/${name} was applied (${place}), which acts; this one does not`,
    hint: `heddle delete ${kind.toLowerCase()} ${name} -n ${namespace} makes this one act; or take it out`,
    resource: refOf(resource),
    source,
  };
}

function matches(ref: ResourceRef, { kind, namespace, name }: ResourceFilter): boolean {
  if (kind !== undefined && ref.kind !== kindAskedFor(kind)) return false;
  if (namespace !== undefined && ref.namespace !== namespace) return false;
  return name === undefined || ref.name === name;
}
