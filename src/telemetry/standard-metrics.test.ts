import assert from "node:assert/strict";
import { test } from "node:test";

import {
  commonNameOf,
  finishStandardLabels,
  noPeers,
  standardHttpLoggers,
  standardTcpLoggers,
  unknownPeer,
  type PeerDirectory,
} from "./standard-metrics.ts";

const own = { ...unknownPeer, workload: "cart", namespace: "default", app: "cart" };
const peers: PeerDirectory = {
  revision: 1,
  resolve: (instance) =>
    instance === "web-0.shop"
      ? { ...unknownPeer, workload: "web", namespace: "shop", version: "v2" }
      : undefined,
};

/** Every tag of the first counter, with `value` for all that are formats. */
function tagsOf(loggers: ReturnType<typeof standardHttpLoggers>, values: Record<string, string>) {
  const tags = loggers[0]?.counters[0]?.tags ?? [];
  return Object.fromEntries(
    tags.map(({ name, format }) => [name, values[name] ?? (format.includes("%") ? "" : format)]),
  );
}

test("finishStandardLabels() gives all 25 labels for HTTP at both reporters", () => {
  for (const reporter of ["source", "destination"] as const) {
    const labels = finishStandardLabels(tagsOf(standardHttpLoggers(reporter, own), {}), noPeers);
    assert.equal(Object.keys(labels).length, 25, reporter);
  }
});

test("finishStandardLabels() turns the peer's subject into the source's labels", () => {
  const tags = tagsOf(standardHttpLoggers("destination", own), {
    heddle_peer: "CN=web-0.shop",
    source_principal: "spiffe://cluster.local/ns/shop/sa/web",
    response_code: "200",
    response_flags: "-",
  });
  assert.partialDeepStrictEqual(finishStandardLabels(tags, peers), {
    source_workload: "web",
    source_workload_namespace: "shop",
    source_version: "v2",
    connection_security_policy: "mutual_tls",
    request_protocol: "http",
    destination_workload: "cart",
  });
});

test("finishStandardLabels() says unknown and none for a plaintext peer", () => {
  const labels = finishStandardLabels(tagsOf(standardTcpLoggers("destination", own), {}), peers);
  assert.partialDeepStrictEqual(labels, {
    source_workload: "unknown",
    source_principal: "unknown",
    connection_security_policy: "none",
    request_protocol: "tcp",
    response_flags: "-",
  });
  assert.equal(labels["response_code"], undefined);
});

test("finishStandardLabels() calls a request grpc when it has a gRPC status", () => {
  const tags = tagsOf(standardHttpLoggers("source", own), { grpc_response_status: "0" });
  assert.equal(finishStandardLabels(tags, noPeers)["request_protocol"], "grpc");
});

test("commonNameOf() finds CN in a subject of several parts", () => {
  assert.equal(commonNameOf("O=x,CN=a-0.b,OU=y"), "a-0.b");
  assert.equal(commonNameOf("O=xCN=a"), undefined);
  assert.equal(commonNameOf(""), undefined);
});
