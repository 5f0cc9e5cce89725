import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { silentCounters } from "../../../test/support/silent-counters.ts";
import type { ClusterCounters, UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { OwnConnection } from "./own-connection.ts";

test("OwnConnection forgets who ended the attempt before", () => {
  const ends: string[] = [];
  const counters: ClusterCounters = {
    ...silentCounters,
    onConnectionClosed: ({ by }) => void ends.push(by),
  };
  // It asks no more of a cluster.
  const cluster = {
    limits: { releaseConnection: () => {} },
    counters,
  } as unknown as UpstreamCluster;
  const endpoint: UpstreamEndpoint = {
    address: { address: "10.0.0.1", port: 80 },
    hostname: "",
    metadata: {},
    tls: undefined,
    active: 0,
    report: () => {},
  };
  const own = new OwnConnection(new FakeClock());
  own.begin(cluster, endpoint);
  own.onPeerEnded();
  own.onClosed(cluster, endpoint, undefined);
  own.begin(cluster, endpoint);
  own.onClosed(cluster, endpoint, undefined);
  assert.deepEqual(ends, ["remote", "local"]);
});
