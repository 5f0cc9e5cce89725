/** A full garbage collection on demand, in a process that was not started for it. */
import v8 from "node:v8";
import vm from "node:vm";

let collect: (() => void) | undefined;

export function collectGarbage(): void {
  if (collect === undefined) {
    // Contexts that are made after the flag have the function; the collection is of the whole heap.
    v8.setFlagsFromString("--expose-gc");
    const found: unknown = vm.runInNewContext("gc");
    collect =
      typeof found === "function" ? () => void Reflect.apply(found, undefined, []) : () => {};
  }
  collect();
}
