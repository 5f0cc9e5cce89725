/**
 * What resources of a file are wrong in only beside others, or as a whole: two of one name, of which the file
 * cannot mean both, and listeners that could serve nobody.
 */
import type { Bootstrap } from "../../wire/gen/ts/envoy/config/bootstrap/v3/bootstrap.ts";
import { servesNobody } from "../config/listener-plan.ts";
import type { RefusalList } from "../engine/refusal.ts";

export function refuseContradictions(bootstrap: Bootstrap, refusals: RefusalList): void {
  const { clusters = [], listeners = [], secrets = [] } = bootstrap.staticResources ?? {};
  for (const [list, resources] of Object.entries({ clusters, listeners, secrets })) {
    const names = new Set<string>();
    for (const [i, { name }] of resources.entries()) {
      if (name !== "" && names.has(name)) {
        refusals.add(`static_resources.${list}[${i}].name`, `'${name}' is the name of two`);
      }
      names.add(name);
    }
  }
  for (const [i, listener] of listeners.entries()) {
    if (servesNobody(listener)) {
      refusals.add(`static_resources.listeners[${i}].filter_chains`, "at least one is required");
    }
  }
}
