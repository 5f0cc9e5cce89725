import assert from "node:assert/strict";
import { test } from "node:test";

import { FilterConfig } from "../../wire/gen/ts/envoy/config/filter/http/alpn/v2alpha1/config.ts";
import { TypedStruct } from "../../wire/gen/ts/udpa/type/v1/typed_struct.ts";
import { compileAlpn } from "./alpn.ts";
import { isPeerExchange, withoutExchange } from "./exchange.ts";
import { createPeerFilter } from "./peer-filter.ts";
import { decodePeer, encodePeer, peerOfEndpoint, serviceOfCluster } from "./peer.ts";

const metadata = {
  NAME: "front-1",
  NAMESPACE: "shop",
  WORKLOAD_NAME: "front",
  CLUSTER_ID: "east",
  LABELS: { app: "front", version: "v2", secret: "stays here" },
  PLATFORM_METADATA: { account: "stays here" },
};

test("encodePeer() tells what labels are made of, and decodePeer() reads it", () => {
  const header = encodePeer(metadata);
  assert.doesNotMatch(Buffer.from(header, "base64").toString("latin1"), /stays here/);
  assert.deepEqual(decodePeer(header), {
    workload: "front",
    namespace: "shop",
    app: "front",
    version: "v2",
    canonicalService: "front",
    canonicalRevision: "v2",
    cluster: "east",
  });
});

test("decodePeer() knows nobody by a broken or endless header", () => {
  assert.equal(decodePeer(undefined), undefined);
  assert.equal(decodePeer("////"), undefined);
  assert.equal(decodePeer("A".repeat(20_000)), undefined);
});

test("peerOfEndpoint() and serviceOfCluster() read istiod's metadata", () => {
  const peer = peerOfEndpoint({ istio: { workload: "catalog;shop;catalog;v1;east" } });
  assert.deepEqual(
    [peer?.workload, peer?.namespace, peer?.canonicalRevision, peer?.cluster],
    ["catalog", "shop", "v1", "east"],
  );
  assert.equal(peerOfEndpoint({ heddle: { workload: "x" } }), undefined);
  const services = [{ host: "catalog.shop.svc.cluster.local", name: "catalog", namespace: "shop" }];
  assert.equal(serviceOfCluster({ istio: { services } })?.name, "catalog");
  assert.equal(serviceOfCluster({ istio: { services: "none" } }), undefined);
});

test("createPeerFilter() refuses what it would not do", () => {
  const make = (fields: Readonly<Record<string, unknown>>): unknown =>
    createPeerFilter("f", fields, { path: "f", node: { id: "n", metadata: {} } });
  make({ downstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }] });
  make({ shared_with_upstream: true });
  for (const fields of [
    { additional_labels: ["a"] },
    { shared_with_upstream: true, downstream_discovery: [{ istio_headers: {} }] },
    { upstream_discovery: [{ baggage: {} }] },
    { upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }] },
  ]) {
    assert.throws(() => make(fields), { code: "xds.refused", message: /is not supported/ });
  }
});

test("compileAlpn() gives what requests of HTTP/1.1 offer", () => {
  const config = FilterConfig.fromPartial({
    alpnOverride: [
      { upstreamProtocol: 2, alpnOverride: ["istio-h2"] },
      { upstreamProtocol: 1, alpnOverride: ["istio-http/1.1", "istio"] },
    ],
  });
  assert.deepEqual(compileAlpn(FilterConfig.encode(config).finish(), "f"), [
    "istio-http/1.1",
    "istio",
  ]);
  assert.throws(() => compileAlpn(new Uint8Array(0), "f"), { code: "xds.refused" });
});

test("isPeerExchange() knows Istio's filter, and its protocol is not agreed on", () => {
  const exchange = (
    value: Readonly<Record<string, unknown>>,
  ): { readonly typeUrl: string; readonly value: Uint8Array } => ({
    typeUrl: "type.googleapis.com/udpa.type.v1.TypedStruct",
    value: TypedStruct.encode({
      typeUrl: "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
      value,
    }).finish(),
  });
  assert.ok(isPeerExchange(exchange({ protocol: "istio-peer-exchange" }), "f"));
  assert.throws(() => isPeerExchange(exchange({ protocol: "mine" }), "f"), /must be/);
  assert.throws(() => isPeerExchange(exchange({ additional_labels: {} }), "f"), /not supported/);
  assert.ok(!isPeerExchange({ typeUrl: "x", value: new Uint8Array(0) }, "f"));
  assert.equal(withoutExchange({ commonTlsContext: undefined }).commonTlsContext, undefined);
});
