/** JSON without some of its nodes, so that what is left can be looked at as well. */
import type { FieldPath } from "./places.ts";

/** An item of a list leaves a hole that reads as an empty message: the others keep their index. */
export function pruneJson(json: unknown, paths: readonly FieldPath[]): unknown {
  const copy: unknown = structuredClone(json);
  for (const path of paths) remove(copy, path.at(-1) === "@type" ? path.slice(0, -1) : path);
  return copy;
}

function remove(root: unknown, path: FieldPath): void {
  let node: unknown = root;
  for (const step of path.slice(0, -1)) {
    node = childOf(node, step);
    if (node === undefined) return;
  }
  const last = path.at(-1);
  if (last === undefined || typeof node !== "object" || node === null) return;
  if (Array.isArray(node)) node[Number(last)] = {};
  else Reflect.deleteProperty(node, last);
}

function childOf(node: unknown, step: string | number): unknown {
  if (typeof node !== "object" || node === null) return undefined;
  return Reflect.get(node, step);
}
