/**
 * How many tests ran on each data plane: suites take it as a parameter and name it, and a run shows
 * that both were asked the same. A test counts for the innermost name around it that says one.
 */

const planeWord = /\b(heddle|envoy)\b/;

/** Tests on each plane by suite, whose name has an asterisk in place of the plane. */
export type SuiteCounts = Readonly<
  Record<string, { readonly heddle: number; readonly envoy: number }>
>;

export interface PlaneCounts {
  /** Tests of suites that ran on both. */
  readonly heddle: number;
  readonly envoy: number;
  /** Tests of what only one of them has, and says so in its name. */
  readonly alone: number;
  /** Suites that ran on both, and not as many tests on each: `NAME: 5 on heddle, 6 on envoy`. */
  readonly unequal: readonly string[];
}

export interface TestResult {
  readonly file: string;
  readonly name: string;
  /** 0 for what stands in the file itself; what is within comes before what it is within. */
  readonly nesting: number;
}

interface Leaf {
  nesting: number;
  plane?: string;
  /** The name that told the plane, with an asterisk in its place. */
  suite?: string;
}

export class PlaneCounter {
  readonly #open = new Map<string, Leaf[]>();
  readonly #suites = new Map<string, { heddle: number; envoy: number }>();

  onResult({ file, name, nesting }: TestResult): void {
    const open = this.#open.get(file) ?? [];
    const first = open.findIndex((one) => one.nesting > nesting);
    const within: Leaf[] = first < 0 ? [{ nesting }] : open.splice(first);
    const plane = planeWord.exec(name)?.[1];
    for (const leaf of within) {
      leaf.nesting = nesting;
      if (plane === undefined || leaf.plane !== undefined) continue;
      leaf.plane = plane;
      leaf.suite = name.replace(planeWord, "*");
    }
    if (nesting > 0) this.#open.set(file, [...open, ...within]);
    else for (const leaf of within) this.#count(leaf);
  }

  get suites(): SuiteCounts {
    return Object.fromEntries(this.#suites);
  }

  #count({ plane, suite }: Leaf): void {
    if (suite === undefined || (plane !== "heddle" && plane !== "envoy")) return;
    const counts = this.#suites.get(suite) ?? { heddle: 0, envoy: 0 };
    counts[plane] += 1;
    this.#suites.set(suite, counts);
  }
}

/** Of several files, which may have a suite in common: one on each plane. */
export function planeCountsOf(files: readonly SuiteCounts[]): PlaneCounts {
  const suites = new Map<string, { heddle: number; envoy: number }>();
  for (const [suite, { heddle, envoy }] of files.flatMap((one) => Object.entries(one))) {
    const sum = suites.get(suite) ?? { heddle: 0, envoy: 0 };
    suites.set(suite, { heddle: sum.heddle + heddle, envoy: sum.envoy + envoy });
  }
  const all = [...suites];
  const shared = all.filter(([, { heddle, envoy }]) => heddle > 0 && envoy > 0);
  const sum = (of: "heddle" | "envoy", some: typeof all): number =>
    some.reduce((total, [, counts]) => total + counts[of], 0);
  const [heddle, envoy] = [sum("heddle", shared), sum("envoy", shared)];
  return {
    heddle,
    envoy,
    alone: sum("heddle", all) + sum("envoy", all) - heddle - envoy,
    unequal: shared
      .filter(([, counts]) => counts.heddle !== counts.envoy)
      .map(([suite, one]) => `${suite}: ${one.heddle} on heddle, ${one.envoy} on envoy`),
  };
}
