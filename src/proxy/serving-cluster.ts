/** Which cluster serves: one that is asked for, or a member of it where it is an aggregate of clusters. */
import type { EndpointChoice, UpstreamCluster } from "./context.ts";

/** To be asked for an endpoint, and used with that; undefined: nobody is there. */
export function servingCluster(
  cluster: UpstreamCluster | undefined,
  choice: EndpointChoice,
): UpstreamCluster | undefined {
  return cluster?.memberFor === undefined ? cluster : cluster.memberFor(choice);
}
