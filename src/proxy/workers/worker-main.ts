/** The entry of a data worker's thread. */
import { enableCompileCache } from "node:module";
import { workerData } from "node:worker_threads";

import type { WorkerCode } from "./worker-link.ts";

// Each thread for itself, and before it loads what is large: one that failed has to be replaced soon.
const { compileCache }: WorkerCode = workerData;
if (compileCache !== undefined) enableCompileCache(compileCache);

const { runDataWorker } = await import("./data-worker.ts");
runDataWorker();
