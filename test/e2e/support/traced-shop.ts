/** The sample shop, without its load generator, sending its spans to a collector outside the mesh. */
import assert from "node:assert/strict";
import { networkInterfaces } from "node:os";

import { findEnvoy } from "../../support/envoy.ts";
import { type MeshMode, startMesh, type TestMesh } from "./mesh.ts";
import type { DataPlane } from "./metrics-mesh.ts";
import { shopFiles } from "./shop-files.ts";

export interface TracedShopSetup {
  readonly mode: MeshMode;
  readonly dataPlane: DataPlane;
  readonly collectorPort: number;
  readonly samplingPercent: number;
}

export async function startTracedShop(setup: TracedShopSetup): Promise<TestMesh> {
  const { mode, dataPlane, collectorPort, samplingPercent } = setup;
  const envoy = findEnvoy();
  assert(dataPlane === "heddle" || envoy !== undefined, "there is no Envoy");
  return await startMesh({
    mode,
    dataPlane,
    processes: "heddle",
    files: {
      ...shopFiles(),
      "heddle.yaml": heddleYaml(collectorPort, samplingPercent),
      "mesh/collector.yaml": collectorYaml(mode, collectorPort),
    },
    ...(envoy === undefined ? {} : { environment: { HEDDLE_ENVOY: envoy } }),
  });
}

function heddleYaml(port: number, samplingPercent: number): string {
  const text = shopFiles()["heddle.yaml"] ?? "";
  const tracing = `meshConfig:
  enableTracing: true
  defaultConfig: { tracing: { sampling: ${samplingPercent} } }
  defaultProviders: { tracing: [collector] }
  extensionProviders:
  - name: collector
    opentelemetry: { service: collector.example, port: ${port}, http: { path: /v1/traces } }
`;
  return text
    .replace("meshConfig:\n", tracing)
    .replace(/\n- name: loadgen[\s\S]*?(?=\n- name:|$)/, "\n");
}

const collectorYaml = (mode: MeshMode, port: number): string => `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: collector, namespace: default }
spec:
  hosts: [collector.example]
  ports: [{ number: ${port}, name: http, protocol: HTTP }]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{ address: ${mode === "explicit" ? "127.0.0.1" : outsideAddress()} }]
`;

/** An address of this machine that is not loopback: what the mesh's uplink can reach. */
export function outsideAddress(): string {
  const address = Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find((one) => one.family === "IPv4" && !one.internal)?.address;
  assert(address !== undefined, "this machine has no address besides loopback");
  return address;
}
