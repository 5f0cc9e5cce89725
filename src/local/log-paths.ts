/** Where the output of an instance lies: read by the console's API for `heddle logs`. */
import { join } from "node:path";

export interface LogPaths {
  readonly application: string;
  /** The sidecar's log and access log. */
  readonly proxy: string;
}

/** Each is at most 8 MiB; what came before lies beside it with `.1` at the end. */
export function logPathsOf(stateDir: string, namespace: string, instance: string): LogPaths {
  const base = join(stateDir, "logs", `${instance}.${namespace}`);
  return { application: `${base}.log`, proxy: `${base}.proxy.log` };
}
