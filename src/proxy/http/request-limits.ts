/** What a cluster limits of requests, as it and the endpoint that they go to count it. */
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";

/** A request may wait for a connection, which it does until it leaves. */
export function tryPending({ limits }: UpstreamCluster, { stats }: UpstreamEndpoint): boolean {
  if (!limits.tryPending()) return false;
  stats?.onPending(1);
  return true;
}

export function leavePending(
  cluster: UpstreamCluster | undefined,
  { stats }: UpstreamEndpoint,
): void {
  cluster?.limits.releasePending();
  stats?.onPending(-1);
}

/** A request has its connection no more. */
export function leaveRequest({ limits }: UpstreamCluster, { stats }: UpstreamEndpoint): void {
  limits.releaseRequest();
  stats?.onRequest(-1);
}
