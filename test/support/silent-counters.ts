/** Counters of a cluster that nobody reads. */
import type { ClusterCounters } from "../../src/proxy/context.ts";

const nothing = (): void => {};
const uncounted = { add: nothing, value: 0 };

export const silentCounters: ClusterCounters = {
  meter: { received: uncounted, sent: uncounted },
  onConnectionOpened: nothing,
  onConnected: nothing,
  onConnectionClosed: nothing,
  onConnectFailure: nothing,
  count: nothing,
  onResponse: nothing,
  onRetriedResponse: nothing,
  onUntimedResponse: nothing,
  changeActive: nothing,
  onRetry: nothing,
  onRetrySuccess: nothing,
  onRetryOverflow: nothing,
  onTimeout: nothing,
  onTryTimeout: nothing,
  onRedirect: nothing,
  onNamedResponse: nothing,
};
