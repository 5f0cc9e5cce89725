/** A garbage collection on demand, in a process that was not started for it. */
import v8 from "node:v8";
import vm from "node:vm";

export type CollectionKind = "minor" | "major";

let collect: ((kind: CollectionKind) => void) | undefined;

export function collectGarbage(kind: CollectionKind): void {
  collect ??= findCollector();
  collect(kind);
}

/** Contexts that are made after the flag have the function; what it collects is the whole heap's. */
function findCollector(): (kind: CollectionKind) => void {
  v8.setFlagsFromString("--expose-gc");
  const found: unknown = vm.runInNewContext("gc");
  if (typeof found !== "function") return () => {};
  return (type) => void Reflect.apply(found, undefined, [{ type, execution: "sync" }]);
}
