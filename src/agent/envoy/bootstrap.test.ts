import assert from "node:assert/strict";
import { test } from "node:test";

import { type JsonValue, fromJson } from "@bufbuild/protobuf";

import { defaultSidecarPorts, type SidecarOptions } from "../../base/sidecar-options.ts";
import { BootstrapSchema } from "../../wire/gen/es/envoy/config/bootstrap/v3/bootstrap_pb.ts";
import { registry } from "../../wire/gen/es/registry.ts";
import { envoyBootstrap } from "./bootstrap.ts";

const sidecar: SidecarOptions = {
  nodeId: "sidecar~198.18.0.2~cart-0.default~default.svc.cluster.local",
  instance: {
    name: "cart-0",
    workload: "cart",
    namespace: "default",
    serviceAccount: "cart",
    labels: {},
  },
  dataPlane: "envoy",
  control: { address: "198.18.0.1:15012", rootFile: "/root.pem", tokenFile: "/token" },
  stateDir: "/state",
  capture: "explicit",
  ports: defaultSidecarPorts,
  statusAddress: "198.18.0.2",
  trustDomain: "cluster.local",
  accessLogFile: "-",
  logLevel: "info",
  logFormat: "text",
};
const paths = { xdsSocket: "/state/xds.sock", adminSocket: "/state/envoy-admin.sock" };

/** Of the overload manager, as Envoy would read it. */
function monitorsAndActions(memoryLimitBytes?: number): readonly string[] {
  const json = envoyBootstrap(sidecar, {
    ...paths,
    ...(memoryLimitBytes === undefined ? {} : { memoryLimitBytes }),
  });
  // Its type says object: it is made of plain values alone.
  const { overloadManager } = fromJson(BootstrapSchema, json as JsonValue, { registry });
  assert.ok(overloadManager !== undefined);
  return [...overloadManager.resourceMonitors, ...overloadManager.actions].map(({ name }) => name);
}

test("envoyBootstrap() sheds load where there is a limit on memory", () => {
  const connections = "envoy.resource_monitors.global_downstream_max_connections";
  assert.deepEqual(monitorsAndActions(), [connections]);
  assert.deepEqual(monitorsAndActions(256 * 2 ** 20), [
    connections,
    "envoy.resource_monitors.fixed_heap",
    "envoy.overload_actions.shrink_heap",
    "envoy.overload_actions.stop_accepting_requests",
  ]);
  const heap = JSON.stringify(
    envoyBootstrap(sidecar, { ...paths, memoryLimitBytes: 256 * 2 ** 20 }),
  );
  assert.match(heap, new RegExp(`"max_heap_size_bytes":${160 * 2 ** 20}\\b`));
});

test("envoyBootstrap() sends spans after a second", () => {
  const { layeredRuntime } = fromJson(
    BootstrapSchema,
    envoyBootstrap(sidecar, paths) as JsonValue, // made of plain values alone
    { registry },
  );
  const layer = layeredRuntime?.layers[0]?.layerSpecifier;
  assert.ok(layer?.case === "staticLayer");
  assert.deepEqual(layer.value, { "tracing.opentelemetry.flush_interval_ms": 1000 });
});

test("envoyBootstrap() lets idle series make room, between two flushes of statistics", () => {
  const bootstrap = fromJson(BootstrapSchema, envoyBootstrap(sidecar, paths) as JsonValue, {
    registry,
  });
  const { value: interval, case: kind } = bootstrap.statsEviction;
  assert.equal(kind, "statsEvictionInterval");
  const flushSeconds = Number(bootstrap.statsFlushInterval?.seconds);
  // Envoy refuses an interval that is no multiple of the other.
  assert(flushSeconds > 0 && Number(interval?.seconds) % flushSeconds === 0);
});
