/**
 * What becomes wrong with the configuration while a mesh runs, and what is mended, told on the terminal
 * of `heddle up`; `heddle status` and the console show all that is wrong at a time.
 */
import { formatProblem, type Problem } from "../../base/problem.ts";

export interface ConfigurationProblemsOptions {
  /** Until then changes are taken note of and not told. */
  readonly isHeard: () => boolean;
  readonly onStep: (text: string) => void;
}

/** Of one change, in each direction. */
const toldMax = 5;

export class ConfigurationProblems {
  readonly #options: ConfigurationProblemsOptions;
  #known: ReadonlyMap<string, Problem> = new Map();

  constructor(options: ConfigurationProblemsOptions) {
    this.#options = options;
  }

  /** Everything that is wrong now. */
  follow(problems: readonly Problem[]): void {
    const before = this.#known;
    this.#known = new Map(problems.map((problem) => [keyOf(problem), problem]));
    if (!this.#options.isHeard()) return;
    const fresh = [...this.#known].filter(([key]) => !before.has(key));
    const mended = [...before].filter(([key]) => !this.#known.has(key));
    this.#tell(mended.map(([, problem]) => `mended: ${briefly(problem)}`));
    this.#tell(fresh.map(([, problem]) => formatProblem(problem)));
    if (mended.length > 0 && this.#known.size === 0) {
      this.#options.onStep("nothing is wrong with the configuration any more");
    }
  }

  #tell(texts: readonly string[]): void {
    const { onStep } = this.#options;
    for (const text of texts.slice(0, toldMax)) onStep(text);
    const more = texts.length - toldMax;
    if (more > 0) onStep(`and ${more} more; 'heddle status' shows all that is wrong`);
  }
}

/** Without the line: what stands below a line that is added is no news. */
function keyOf({ code, path, message, source, resource }: Problem): string {
  return JSON.stringify([code, path, message, source?.file, resource]);
}

function briefly({ code, source, resource, message }: Problem): string {
  const place = source === undefined ? "" : `${source.file}: `;
  const subject =
    resource === undefined ? "" : `${resource.kind} ${resource.namespace}/${resource.name}: `;
  return `${place}${code}: ${subject}${message}`;
}
