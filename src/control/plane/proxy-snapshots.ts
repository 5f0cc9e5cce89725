import type { Problem, ResourceRef, SourcePosition } from "../../base/problem.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import {
  type DanglingReference,
  type EncodedResource,
  holdBack,
  type ResourceSet,
  type Snapshot,
  typeLabel,
} from "../../xds/snapshot.ts";
import type { TranslatedTypes } from "../translate.ts";

/** `<instance>.<namespace>`: how a proxy is called everywhere. */
export function proxyIdOf({
  name,
  namespace,
}: Pick<WorkloadInstance, "name" | "namespace">): string {
  return `${name}.${namespace}`;
}

/**
 * Makes each proxy's snapshot and remembers the last. What did not change stays the same object: a
 * proxy without changes keeps its snapshot, equal resources of different proxies are one in memory.
 */
export class ProxySnapshots {
  readonly #snapshots = new Map<string, Snapshot>();
  readonly #held = new Map<string, readonly DanglingReference[]>();
  #shared = new Map<string, EncodedResource>();
  #nextShared = new Map<string, EncodedResource>();

  get(proxyId: string): Snapshot | undefined {
    return this.#snapshots.get(proxyId);
  }

  /** Call before a round of `update` for all proxies: what none of them uses is forgotten after it. */
  startRound(): void {
    if (this.#nextShared.size > 0) this.#shared = this.#nextShared;
    this.#nextShared = new Map();
  }

  /** The proxy's snapshot under `version`, or the former one when nothing changed. */
  update(proxyId: string, version: string, types: TranslatedTypes): Snapshot {
    const previous = this.#snapshots.get(proxyId);
    const sets = new Map<string, ResourceSet>();
    for (const [typeUrl, resources] of types) {
      const set = new Map<string, EncodedResource>();
      const known = previous?.types.get(typeUrl);
      for (const one of resources) {
        const isKnown = known?.get(one.name) === one;
        set.set(one.name, isKnown ? one : this.#share(typeUrl, one));
      }
      sets.set(typeUrl, reuse(known, set));
    }
    const { snapshot, held } = holdBack(previous, { version, types: sets });
    this.#held.set(proxyId, held);
    const isSame = previous !== undefined && areSame(previous.types, snapshot.types);
    if (isSame) return previous;
    this.#snapshots.set(proxyId, snapshot);
    return snapshot;
  }

  keepOnly(proxyIds: ReadonlySet<string>): readonly string[] {
    const gone = [...this.#snapshots.keys()].filter((proxyId) => !proxyIds.has(proxyId));
    for (const proxyId of gone) {
      this.#snapshots.delete(proxyId);
      this.#held.delete(proxyId);
    }
    return gone;
  }

  /** What was held back because it refers to something that is not there: our mistake, and shown. */
  problems(locate: Locate): readonly Problem[] {
    const problems = new Map<string, Problem>();
    for (const [proxyId, held] of this.#held) {
      for (const { typeUrl, resource, missing, missingTypeUrl } of held) {
        const what = `${typeLabel(typeUrl)} ${resource.name}`;
        const need = `${typeLabel(missingTypeUrl)} ${missing}`;
        problems.set(`${what} ${need}`, {
          code: "xds.held-back",
          severity: "error",
          path: "",
          message: `${what} of ${proxyId} is held back: ${need} is missing`,
          ...placeOf(resource.origins, locate),
        });
      }
    }
    return [...problems.values()];
  }

  #share(typeUrl: string, resource: EncodedResource): EncodedResource {
    // Origins belong to the key: equal bytes may be made from different configuration.
    const origins = resource.origins.map((o) => `${o.kind}/${o.namespace}/${o.name}`).join(",");
    const key = `${typeUrl}\n${resource.name}\n${resource.version}\n${origins}`;
    const shared = this.#nextShared.get(key) ?? this.#shared.get(key) ?? resource;
    this.#nextShared.set(key, shared);
    return shared;
  }
}

/** Where a resource is written. */
export type Locate = (ref: ResourceRef) => SourcePosition | undefined;

/** What a problem says of the configuration behind an xDS resource. */
export function placeOf(
  origins: readonly ResourceRef[],
  locate: Locate,
): Pick<Problem, "resource" | "source"> {
  const [origin] = origins;
  if (origin === undefined) return {};
  const source = locate(origin);
  return source === undefined ? { resource: origin } : { resource: origin, source };
}

/** The former set where the new one is equal. */
function reuse(previous: ResourceSet | undefined, next: ResourceSet): ResourceSet {
  if (previous === undefined || previous.size !== next.size) return next;
  for (const [name, resource] of next) if (previous.get(name) !== resource) return next;
  return previous;
}

function areSame(
  one: ReadonlyMap<string, ResourceSet>,
  other: ReadonlyMap<string, ResourceSet>,
): boolean {
  if (one.size !== other.size) return false;
  for (const [typeUrl, set] of one) {
    const counterpart = other.get(typeUrl);
    if (counterpart === undefined || reuse(set, counterpart) !== set) return false;
  }
  return true;
}
