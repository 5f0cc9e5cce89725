import type { ProxyStatus } from "../console/api.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

/**
 * The proxies a user means by `WORKLOAD` or `INSTANCE`, alone, before `.NAMESPACE` or after `NAMESPACE/`.
 * Fails, naming what exists, when there is none.
 */
export function proxiesNamed(
  proxies: readonly ProxyStatus[],
  name: string,
): readonly ProxyStatus[] {
  const found = proxies.filter(
    ({ proxy, instance, workload, namespace }) =>
      proxy === name ||
      [instance, workload].some(
        (one) => name === one || name === `${one}.${namespace}` || name === `${namespace}/${one}`,
      ),
  );
  if (found.length === 0) {
    const known = proxies.map((proxy) => proxy.proxy).join(", ");
    throw new CommandFailure(
      exitCodes.findings,
      `there is no proxy ${name}; there ${known === "" ? "are none" : `are ${known}`}`,
    );
  }
  return found;
}
