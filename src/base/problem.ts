/**
 * Something wrong with what an operator wrote. A problem is a value, never thrown: parsing a
 * document reports all of its problems at once, and the same list reaches the CLI, the resource's
 * status and the console.
 */
export interface Problem {
  /** Stable, dotted, listed in docs/errors.md: `virtualservice.host-not-found`. */
  readonly code: string;
  readonly severity: "error" | "warning";
  /** Where, as a path the operator can find: `spec.http[0].route[1].weight`; empty for a whole document. */
  readonly path: string;
  readonly message: string;
  /** What to do about it, when we know. */
  readonly hint?: string;
  /** The place in a file; absent only for what came from no file. */
  readonly source?: SourcePosition;
  /** The resource concerned, when the document got far enough to have a name. */
  readonly resource?: ResourceRef;
}

/** A place in a text; line and column count from 1, columns in UTF-16 units. */
export interface SourcePosition {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface ResourceRef {
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** Parsing never fails: a value is present when it can be used, with whatever is wrong beside it. */
export interface Parsed<T> {
  readonly value: T | undefined;
  readonly problems: readonly Problem[];
}

/** `shop.yaml:12:5: error virtualservice.weights: weights add up to 90, not 100 (hint)`. */
export function formatProblem(problem: Problem): string {
  const { source, resource, hint } = problem;
  const place = source === undefined ? "" : `${source.file}:${source.line}:${source.column}: `;
  const subject =
    resource === undefined ? "" : `${resource.kind} ${resource.namespace}/${resource.name}: `;
  const path = problem.path === "" ? "" : ` (${problem.path})`;
  const remedy = hint === undefined ? "" : `; ${hint}`;
  return `${place}${problem.severity} ${problem.code}: ${subject}${problem.message}${path}${remedy}`;
}
