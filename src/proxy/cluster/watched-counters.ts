/** Checks of a cluster's endpoints are made more often once there is something to be lost. */
import type { ClusterCounters } from "../context.ts";
import type { MembersOptions } from "./members.ts";

/** Counts as ever, and notes the first connection for a request. */
export function watched(
  cluster: string,
  { series, services, traffic }: MembersOptions,
): ClusterCounters {
  const { counters } = series;
  return {
    ...counters,
    onConnectionOpened() {
      counters.onConnectionOpened();
      if (traffic.isSeen) return;
      traffic.isSeen = true;
      services.onHealthNews?.({ kind: "traffic", cluster });
    },
  };
}
