import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { BearerTokens } from "../../identity/bearer-tokens.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { GrpcCall } from "../../net/grpc-server.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { Node } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { grpcStatus } from "../../wire/grpc.ts";
import { ControlMetrics } from "./control-metrics.ts";
import { authenticateProxy, listenerLimits } from "./serve.ts";

const token = "token-of-cart-0123456789";
const tokens = new BearerTokens<WorkloadInstance>();
tokens.replace([{ sha256: createHash("sha256").update(token).digest("hex"), holder: cart() }]);
const known = new Set(["cart-0.shop", "till-0.shop"]);
const plane = { tokens, isInstance: (id: string): boolean => known.has(id) };

function cart(): WorkloadInstance {
  return {
    name: "cart-0",
    workload: "cart",
    namespace: "shop",
    serviceAccount: "cart",
    labels: {},
    role: "workload",
    addresses: [],
    ports: [],
    capture: "transparent",
    localDestinations: [],
    state: "ready",
    tokenSha256: "",
    dataPlane: "heddle",
    adminSocket: "",
    metricsUrl: "",
    restarts: 0,
    sidecarPorts: { outbound: 15001, inbound: 15006 },
  };
}

interface Caller {
  readonly listener: "tls" | "plain";
  readonly authorization?: string;
  readonly isLoopback?: boolean;
  /** Whom its node says it is. */
  readonly says?: string;
}

/** Listeners of the calls that were said to be authenticated. */
const marks: string[] = [];

function ask({ listener, authorization, isLoopback = true, says }: Caller): string {
  const metrics = new ControlMetrics(createMetricRegistry());
  const call: GrpcCall = {
    metadata: (name) => (name === "authorization" ? authorization : undefined),
    peer: "198.18.0.4:1",
    isLoopback,
    markAuthenticated: () => void marks.push(listener),
  };
  const id = `sidecar~198.18.0.4~${says}~shop.svc.cluster.local`;
  const node = says === undefined ? undefined : Node.fromPartial({ id });
  return authenticateProxy(call, node, { plane, metrics, listener });
}

test("authenticateProxy() goes by the token over TLS, whatever the node says", () => {
  const authorization = `Bearer ${token}`;
  assert.equal(ask({ listener: "tls", authorization, says: "cart-0.shop" }), "cart-0.shop");
  assert.equal(ask({ listener: "tls", authorization }), "cart-0.shop");
  assert.deepEqual(marks.splice(0), ["tls", "tls"]);
  const refused = (caller: Omit<Caller, "listener">, code: number): void => {
    assert.throws(() => ask({ listener: "tls", ...caller }), { code });
  };
  refused({ authorization, says: "till-0.shop" }, grpcStatus.permissionDenied);
  refused({ says: "cart-0.shop" }, grpcStatus.unauthenticated);
  refused({ authorization: "Bearer guess-0123456789abcdef" }, grpcStatus.unauthenticated);
  assert.deepEqual(marks, []);
});

test("authenticateProxy() serves the plain listener to loopback and to known instances alone", () => {
  assert.equal(ask({ listener: "plain", says: "cart-0.shop" }), "cart-0.shop");
  const refused = (caller: Omit<Caller, "listener">, code: number): void => {
    assert.throws(() => ask({ listener: "plain", ...caller }), { code });
  };
  refused({ isLoopback: false, says: "cart-0.shop" }, grpcStatus.permissionDenied);
  refused({ isLoopback: false, authorization: `Bearer ${token}` }, grpcStatus.permissionDenied);
  refused({ says: "nobody-0.shop" }, grpcStatus.notFound);
});

test("listenerLimits() bounds strangers, and no sidecar for sharing an address with others", () => {
  const bounds = { connectionsPerAddressMax: 256, unauthenticatedMs: 10_000 };
  assert.deepEqual(listenerLimits({ address: "198.18.0.1", port: 15_012 }, "tls"), bounds);
  for (const address of ["127.0.0.1", "::1"]) {
    const shared = { ...bounds, connectionsPerAddressMax: 0 };
    assert.deepEqual(listenerLimits({ address, port: 15_012 }, "tls"), shared);
    const plain = { connectionsPerAddressMax: 0, unauthenticatedMs: 0 };
    assert.deepEqual(listenerLimits({ address, port: 15_010 }, "plain"), plain);
  }
});
