/** What is to be said of the mesh's root before it is too late: it is made once and not renewed. */
import type { Problem } from "../../base/problem.ts";

const yearMs = 365 * 86_400_000;

export function rootProblems(
  { rootNotAfterMs }: { readonly rootNotAfterMs: number },
  nowMs: number,
): readonly Problem[] {
  const leftMs = rootNotAfterMs - nowMs;
  if (leftMs >= yearMs) return [];
  const day = new Date(rootNotAfterMs).toISOString().slice(0, 10);
  const days = Math.max(0, Math.floor(leftMs / 86_400_000));
  return [
    {
      code: "ca.root-expires",
      severity: "warning",
      path: "",
      message: `the mesh's root certificate expires on ${day}, in ${days} days; no certificate outlives it`,
      hint: "end the mesh, delete its state directory and start it again: it begins with a new root",
    },
  ];
}
