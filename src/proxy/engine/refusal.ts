import { HeddleError } from "../../base/error.ts";

/**
 * Says that a resource cannot be honoured as written. Thrown while compiling, caught once per
 * resource by whoever applies configuration, who refuses that resource alone (NACK).
 *
 * `path` is the field from the resource's root, in proto names: `virtual_hosts[0].routes[2].match`.
 */
export function refuse(path: string, reason: string): never {
  throw new HeddleError("xds.refused", `${path}: ${reason}`);
}
