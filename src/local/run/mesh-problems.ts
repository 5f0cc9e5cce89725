/**
 * What is wrong with the mesh file as it stands now, from whichever side it was found, and the telling
 * of it: once on the terminal of `heddle up`, and to the control plane for `heddle status` and the
 * console.
 */
import { formatProblem, type Problem } from "../../base/problem.ts";
import { explicitProblems, restartProblems } from "../file/unheeded.ts";
import type { MeshFile } from "../mesh-file.ts";
import type { UsableMeshFile } from "./mesh-source.ts";

export interface MeshProblemsOptions {
  /** What the mesh was started with; whoever read it has told its problems. */
  readonly started: UsableMeshFile;
  readonly isExplicit: boolean;
  /** What was found while the file was carried out. */
  readonly found: () => readonly Problem[];
  readonly onStep: (text: string) => void;
}

/** Of one change; `heddle status` shows all. */
const toldMax = 5;

export class MeshProblems {
  readonly #options: MeshProblemsOptions;
  #ofFile: readonly Problem[];
  #file: MeshFile;
  #told: ReadonlySet<string>;

  constructor(options: MeshProblemsOptions) {
    this.#options = options;
    this.#file = options.started.file;
    this.#ofFile = options.started.problems;
    this.#told = new Set(options.started.problems.map(formatProblem));
  }

  /** `file` is undefined while the file cannot be used, and the last good one goes on. */
  read(file: MeshFile | undefined, problems: readonly Problem[]): void {
    if (file !== undefined) this.#file = file;
    this.#ofFile = problems;
  }

  all(): readonly Problem[] {
    const { started, isExplicit, found } = this.#options;
    return [
      ...this.#ofFile,
      ...restartProblems(started.file, this.#file, { isExplicit }),
      ...(isExplicit ? explicitProblems(this.#file) : []),
      ...found(),
    ];
  }

  /** Says what has become wrong since the last time, and when nothing is any more. */
  tell(): void {
    const { onStep } = this.#options;
    const texts = new Set(this.all().map(formatProblem));
    const fresh = [...texts].filter((text) => !this.#told.has(text));
    for (const text of fresh.slice(0, toldMax)) onStep(text);
    const more = fresh.length - toldMax;
    if (more > 0) onStep(`and ${more} more; 'heddle status' shows all`);
    if (texts.size === 0 && this.#told.size > 0) onStep("nothing is wrong with the file any more");
    this.#told = texts;
  }
}
