/** Which of the instances that run a selector chooses, found by the rarest of its labels. */
import { type LabelSelector, selects } from "../../model/matching.ts";
import type { WorkloadInstance } from "../../model/workload.ts";

export class InstanceTable {
  readonly #all: readonly WorkloadInstance[];
  /** By namespace, and by label with and without namespace, each in the order of all. */
  readonly #some = new Map<string, WorkloadInstance[]>();

  constructor(all: readonly WorkloadInstance[]) {
    this.#all = all;
    for (const instance of all) {
      const { namespace, labels } = instance;
      this.#add(placeOf(namespace), instance);
      for (const label of Object.entries(labels)) {
        this.#add(placeOf(namespace, label), instance);
        this.#add(placeOf(undefined, label), instance);
      }
    }
  }

  #add(place: string, instance: WorkloadInstance): void {
    const known = this.#some.get(place);
    if (known === undefined) this.#some.set(place, [instance]);
    else known.push(instance);
  }

  /** Those of a namespace, or of all where it is undefined, that `selector` chooses. */
  selected(
    namespace: string | undefined,
    selector: LabelSelector | undefined,
  ): readonly WorkloadInstance[] {
    let least = namespace === undefined ? this.#all : (this.#some.get(placeOf(namespace)) ?? []);
    const labels = Object.entries(selector ?? {});
    if (labels.length === 0) return least;
    for (const label of labels) {
      const some = this.#some.get(placeOf(namespace, label)) ?? [];
      if (some.length < least.length) least = some;
    }
    return least.filter((one) => selects(selector, one.labels));
  }
}

function placeOf(namespace: string | undefined, label?: readonly [string, string]): string {
  return JSON.stringify([namespace, label]);
}
