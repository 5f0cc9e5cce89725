/** The file that a data worker runs: the source, or its own entry of the bundle, beside this one. */
export function workerEntry(): URL {
  const here = import.meta.url;
  return here.endsWith(".ts")
    ? new URL("../proxy/workers/worker-main.ts", here)
    : new URL("./data-worker.js", here);
}
