/** The entry of a data worker's thread. */
import { enableCompileCache } from "node:module";

// Each thread for itself, and before it loads what is large: one that failed has to be replaced soon.
enableCompileCache();

const { runDataWorker } = await import("./data-worker.ts");
runDataWorker();
