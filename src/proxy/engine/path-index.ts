/**
 * Which routes of a long list a path can match, in the list's order: exact paths in maps, prefixes
 * in radix trees, everything else always. First match wins stays exact, because candidates come in
 * ascending order and each is tested for the rest of what it asks.
 */
import type { RequestPredicate } from "./condition-closure.ts";
import { conditionClosure } from "./condition-closure.ts";
import type { FirstMatch } from "./condition-code.ts";
import { allOf, type Condition } from "./condition.ts";
import type { PathCondition, PlannedMatch } from "./route-match.ts";
import { lowerAscii } from "./text-test.ts";

interface PrefixNode {
  /** What leads here from the node above. */
  label: string;
  /** By the first UTF-16 unit of their labels. */
  children: Map<number, PrefixNode> | undefined;
  /** Ascending. */
  routes: number[] | undefined;
}

/** Takes routes in their order. */
export class PathIndex {
  readonly #exact = new Map<string, number[]>();
  readonly #prefixes: PrefixNode = { label: "", children: undefined, routes: undefined };
  /** The same for routes that ignore case, in lower case. */
  readonly #folded = {
    exact: new Map<string, number[]>(),
    prefixes: { label: "", children: undefined, routes: undefined } satisfies PrefixNode,
    count: 0,
  };
  readonly #others: number[] = [];
  /** What is left to ask of each route once its path fits. */
  readonly #residuals: (RequestPredicate | undefined)[] = [];
  // Of one request at a time: nothing that a condition asks comes back here.
  readonly #lists: (readonly number[])[] = [];
  readonly #cursors: number[] = [];
  #listCount = 0;

  add({ path, rest }: PlannedMatch): void {
    const route = this.#residuals.length;
    const residual = this.#place(route, path) === "decided" ? rest : allOf([path, rest]);
    this.#residuals.push(residualOf(residual));
  }

  readonly firstMatch: FirstMatch = (request, path, random) => {
    this.#begin(path === "" || request.method === "CONNECT" ? undefined : path);
    for (let route = this.#next(); route >= 0; route = this.#next()) {
      const residual = this.#residuals[route];
      if (residual === undefined || residual(request, path, random)) return route;
    }
    return -1;
  };

  /** Whether being found says all about the path. */
  #place(route: number, path: PathCondition): "decided" | "candidate" {
    if (path.kind === "connect") {
      this.#others.push(route);
      return "candidate";
    }
    const { test } = path;
    if (test.kind !== "exact" && test.kind !== "prefix" && test.kind !== "segments") {
      this.#others.push(route);
      return "candidate";
    }
    if (test.ignoresCase) this.#folded.count++;
    if (test.kind === "exact") {
      const table = test.ignoresCase ? this.#folded.exact : this.#exact;
      const routes = table.get(test.text);
      if (routes === undefined) table.set(test.text, [route]);
      else routes.push(route);
      return "decided";
    }
    insert(test.ignoresCase ? this.#folded.prefixes : this.#prefixes, test.text, route);
    return test.kind === "prefix" ? "decided" : "candidate";
  }

  #begin(path: string | undefined): void {
    this.#listCount = 0;
    this.#take(this.#others);
    if (path === undefined) return;
    this.#take(this.#exact.get(path));
    this.#takePrefixes(this.#prefixes, path);
    if (this.#folded.count === 0) return;
    const folded = lowerAscii(path);
    this.#take(this.#folded.exact.get(folded));
    this.#takePrefixes(this.#folded.prefixes, folded);
  }

  #take(routes: readonly number[] | undefined): void {
    if (routes === undefined || routes.length === 0) return;
    this.#lists[this.#listCount] = routes;
    this.#cursors[this.#listCount] = 0;
    this.#listCount++;
  }

  #takePrefixes(root: PrefixNode, path: string): void {
    let node: PrefixNode | undefined = root;
    let at = 0;
    while (node !== undefined) {
      this.#take(node.routes);
      if (at >= path.length) return;
      node = node.children?.get(path.charCodeAt(at));
      if (node === undefined || !path.startsWith(node.label, at)) return;
      at += node.label.length;
    }
  }

  /** The smallest that has not been given out; -1 at the end. */
  #next(): number {
    let best = -1;
    let from = -1;
    for (let i = 0; i < this.#listCount; i++) {
      const route = this.#lists[i]?.[this.#cursors[i] ?? 0];
      if (route !== undefined && (best < 0 || route < best)) {
        best = route;
        from = i;
      }
    }
    if (from >= 0) this.#cursors[from] = (this.#cursors[from] ?? 0) + 1;
    return best;
  }
}

function residualOf(condition: Condition): RequestPredicate | undefined {
  return condition.kind === "always" ? undefined : conditionClosure(condition);
}

function insert(root: PrefixNode, text: string, route: number): void {
  let node = root;
  let at = 0;
  while (at < text.length) {
    node.children ??= new Map();
    const first = text.charCodeAt(at);
    const child = node.children.get(first);
    if (child === undefined) {
      const leaf = { label: text.slice(at), children: undefined, routes: [route] };
      node.children.set(first, leaf);
      return;
    }
    const shared = sharedLength(child.label, text, at);
    if (shared < child.label.length) {
      const upper: PrefixNode = {
        label: child.label.slice(0, shared),
        children: new Map([[child.label.charCodeAt(shared), child]]),
        routes: undefined,
      };
      child.label = child.label.slice(shared);
      node.children.set(first, upper);
      node = upper;
    } else {
      node = child;
    }
    at += shared;
  }
  if (node.routes === undefined) node.routes = [route];
  else node.routes.push(route);
}

function sharedLength(label: string, text: string, at: number): number {
  let length = 0;
  while (
    length < label.length &&
    at + length < text.length &&
    label.charCodeAt(length) === text.charCodeAt(at + length)
  ) {
    length++;
  }
  return length;
}
