/**
 * Which proxies a change of configuration concerns: those whose resources differ with and without it.
 * What else changed meanwhile does not count, nor does it matter which resource says where it came
 * from; creating something and removing it again concern the same proxies.
 */
import type { ResourceRef } from "../../base/problem.ts";
import { resourceKey } from "../../model/config-resource.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { Translate } from "../translate.ts";
import type { MeshModel } from "../mesh-model.ts";
import type { ConfigSet } from "./configuration.ts";

export interface Change {
  readonly refs: readonly ResourceRef[];
  readonly before: ConfigSet;
  readonly after: ConfigSet;
}

export interface EffectsContext {
  readonly newTranslate: () => Translate;
  readonly modelOf: (config: ConfigSet) => MeshModel;
  readonly proxies: () => ReadonlyMap<string, WorkloadInstance>;
  /** Lets other work in. */
  readonly pause: () => Promise<void>;
}

/** The last change of this many resources is known. */
const changesMax = 200;

export class ChangeEffects {
  readonly #context: EffectsContext;
  /** By resource. */
  readonly #last = new Map<string, Change>();

  constructor(context: EffectsContext) {
    this.#context = context;
  }

  remember(change: Change): void {
    for (const ref of change.refs) {
      this.#last.delete(resourceKey(ref));
      this.#last.set(resourceKey(ref), change);
    }
    for (const oldest of this.#last.keys()) {
      if (this.#last.size <= changesMax) return;
      this.#last.delete(oldest);
    }
  }

  /** Proxies that the last changes of these resources concern; undefined where that is not known. */
  async concerned(refs: readonly ResourceRef[]): Promise<ReadonlySet<string> | undefined> {
    const changes = new Set<Change>();
    for (const ref of refs) {
      const change = this.#last.get(resourceKey(ref));
      if (change === undefined) return undefined;
      changes.add(change);
    }
    if (changes.size === 0) return undefined;
    const proxies = new Set<string>();
    for (const { before, after, refs: changed } of changes) {
      // What was applied again unchanged still concerns those whom it tells something.
      for (const other of [before, withoutResources(after, changed)]) {
        for (const proxy of await this.#differing(other, after)) proxies.add(proxy);
      }
    }
    return proxies;
  }

  async #differing(one: ConfigSet, other: ConfigSet): Promise<readonly string[]> {
    const { newTranslate, modelOf, proxies, pause } = this.#context;
    const sides = [one, other].map((config) => {
      return { model: modelOf(config), translate: newTranslate() };
    });
    const differing: string[] = [];
    for (const [proxyId, instance] of proxies()) {
      const [left, right] = sides.map(({ model, translate }) =>
        digestOf(translate(model, instance)),
      );
      if (left !== right) differing.push(proxyId);
      await pause();
    }
    return differing;
  }
}

function digestOf(types: ReturnType<Translate>): string {
  return [...types]
    .map(([typeUrl, all]) => {
      const versions = all.map(({ name, version }) => `${name} ${version}`);
      return `${typeUrl}\n${versions.toSorted().join("\n")}`;
    })
    .join("\n");
}

function withoutResources(config: ConfigSet, refs: readonly ResourceRef[]): ConfigSet {
  const keys = new Set(refs.map(resourceKey));
  return { ...config, resources: config.resources.filter((one) => !keys.has(resourceKey(one))) };
}
