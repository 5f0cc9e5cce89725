import assert from "node:assert/strict";
import { test } from "node:test";

import { noTraffic } from "../../../test/support/no-traffic.ts";
import type { Traffic } from "../api.ts";
import { sentenceOf } from "./status.ts";

const services = [{ health: "healthy" }, { health: "failing" }] as const;

test("sentenceOf() tells requests always, messages and bytes where there are any", () => {
  for (const [traffic, wanted] of [
    [{}, "1 of 2 services healthy, 0 req/s"],
    [
      { requestsPerSecond: 202, errorFraction: 0.01, p99Ms: 12.4 },
      "1 of 2 services healthy, 202 req/s, 1.0% errors, p99 12 ms",
    ],
    [
      { requestMessagesPerSecond: 1.5, responseMessagesPerSecond: 3 },
      "1 of 2 services healthy, 0 req/s, 4.5 gRPC messages/s",
    ],
    [{ tcpSentBytesPerSecond: 0.25 }, "1 of 2 services healthy, 0 req/s, 0.3 B/s over TCP and UDP"],
    [
      { tcpSentBytesPerSecond: 900, tcpReceivedBytesPerSecond: 1100 },
      "1 of 2 services healthy, 0 req/s, 2.0 kB/s over TCP and UDP",
    ],
    [
      { tcpReceivedBytesPerSecond: 25e12 },
      "1 of 2 services healthy, 0 req/s, 25000 GB/s over TCP and UDP",
    ],
  ] as const satisfies readonly (readonly [Partial<Traffic>, string])[]) {
    assert.equal(sentenceOf(services, { ...noTraffic, ...traffic }, {}), wanted);
  }
});
