import type { ProxyStatus } from "../console/api.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

/**
 * The proxies a user means by `WORKLOAD`, `INSTANCE`, `INSTANCE.NAMESPACE` or `NAMESPACE/INSTANCE`.
 * Fails, naming what exists, when there is none.
 */
export function proxiesNamed(
  proxies: readonly ProxyStatus[],
  name: string,
): readonly ProxyStatus[] {
  const [namespace, instance] = name.includes("/") ? name.split("/", 2) : [undefined, name];
  const found = proxies.filter((proxy) =>
    namespace === undefined
      ? proxy.proxy === name || proxy.instance === name || proxy.workload === name
      : proxy.namespace === namespace &&
        (proxy.instance === instance || proxy.workload === instance),
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
