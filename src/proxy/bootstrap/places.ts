/** From a path in proto names to the line of a file that it stands in. */

/** A node of a parsed file; a sequence's children have their index as a name. */
export interface PlacedNode {
  /** 1-based. */
  readonly line: number;
  readonly children: ReadonlyMap<string, PlacedNode>;
}

export type FieldPath = readonly (string | number)[];

/** `filter_chains[0].filters[1].typed_config` in steps; what stands in brackets is an index or a key. */
export function parseFieldPath(path: string): FieldPath {
  const steps: (string | number)[] = [];
  for (const [, bracketed, name] of path.matchAll(/\[([^\]]*)\]|([^.[\]]+)/g)) {
    if (name !== undefined) steps.push(name);
    else if (bracketed !== undefined)
      steps.push(/^\d+$/.test(bracketed) ? Number(bracketed) : bracketed);
  }
  return steps;
}

/** The line of the deepest node on the way; where the first step leads nowhere, of the root. */
export function lineOfPath(root: PlacedNode, path: FieldPath): number {
  let node = root;
  for (const [i, step] of path.entries()) {
    const next = childOf(node, step) ?? dottedChild(node, path.slice(i));
    if (next === undefined) return node.line;
    node = next;
  }
  return node.line;
}

function childOf(node: PlacedNode, step: string | number): PlacedNode | undefined {
  const exact = node.children.get(String(step));
  if (exact !== undefined || typeof step === "number") return exact;
  const plain = plainName(step);
  for (const [name, child] of node.children) if (plainName(name) === plain) return child;
  return undefined;
}

/** Keys of a runtime have dots in them. */
function dottedChild(node: PlacedNode, rest: FieldPath): PlacedNode | undefined {
  return rest.length < 2 ? undefined : node.children.get(rest.join("."));
}

/** Files may spell fields either way: `connect_timeout`, `connectTimeout`. */
function plainName(name: string): string {
  return name.replaceAll("_", "").toLowerCase();
}
