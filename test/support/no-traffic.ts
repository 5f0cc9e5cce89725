import type { Traffic } from "../../src/console/api.ts";

/** Of a service that nobody asks. */
export const noTraffic: Traffic = {
  requestsPerSecond: 0,
  errorFraction: 0,
  p50Ms: undefined,
  p95Ms: undefined,
  p99Ms: undefined,
  tcpSentBytesPerSecond: 0,
  tcpReceivedBytesPerSecond: 0,
  requestMessagesPerSecond: 0,
  responseMessagesPerSecond: 0,
};
