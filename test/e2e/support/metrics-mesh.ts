/**
 * The mesh of the metrics tests: a client, a server called with and without mTLS, a service without
 * endpoints, destinations that refuse, and rules that delay, break off and deny. `drive()` makes the
 * client send; what it sends is the same in every mode and for every data plane.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { findEnvoy } from "../../support/envoy.ts";
import { type MeshMode, startMesh, type TestMesh } from "./mesh.ts";

export type DataPlane = "heddle" | "envoy";
export const dataPlanes: readonly DataPlane[] = ["heddle", "envoy"];

/** One step of drive.mjs. */
export interface Step {
  readonly count?: number;
  readonly concurrency?: number;
  readonly url?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly bytes?: number;
  /** Of gRPC, in place of bytes. */
  readonly messages?: number;
  /** `host:port`, or the variable that holds it. */
  readonly tcp?: string;
}

const support = import.meta.dirname;

const heddleYaml = `
mesh: metrics
console: { port: 0 }
meshConfig:
  accessLogFile: /dev/stdout
  defaultHttpRetryPolicy: { attempts: 0 }
gateways:
- name: istio-ingressgateway
  labels: { istio: ingressgateway }
  ports: [{ name: http, port: 80, hostPort: 0, protocol: HTTP }]
workloads:
- name: server
  serviceAccount: server
  labels: { version: v1, service.istio.io/canonical-revision: blue }
  command: [${process.execPath}, app-server.mjs, "8080,31999", "9000"]
  ports:
  - { name: http, port: 80, targetPort: 8080, protocol: HTTP }
  - { name: tcp, port: 9000, protocol: TCP }
- name: plain
  serviceAccount: server
  command: [${process.execPath}, app-server.mjs, "8080", "9000"]
  ports:
  - { name: http, port: 80, targetPort: 8080, protocol: HTTP }
  - { name: tcp, port: 9000, protocol: TCP }
- name: empty
  replicas: 0
  command: ["true"]
  ports:
  - { name: http, port: 80, targetPort: 8080, protocol: HTTP }
- name: client
  serviceAccount: client
  labels: { version: v3 }
  command: [{exec}]
  dependsOn: [server, plain]
  destinations:
  - { service: server, port: 9000 }
  - { service: plain, port: 9000 }
`;

const rulesYaml = (unreachable: string): string => `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: front, namespace: istio-system }
spec:
  selector: { istio: ingressgateway }
  servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: front, namespace: istio-system }
spec:
  hosts: ["*"]
  gateways: [istio-system/front]
  http: [{ route: [{ destination: { host: server.default.svc.cluster.local, port: { number: 80 } } }] }]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: server, namespace: default }
spec:
  hosts: [server]
  http:
  - match: [{ uri: { prefix: /broken } }]
    fault: { abort: { httpStatus: 418, percentage: { value: 100 } } }
    route: [{ destination: { host: server } }]
  - match: [{ uri: { prefix: /direct } }]
    directResponse: { status: 204 }
  - match: [{ uri: { prefix: /narrow } }]
    route: [{ destination: { host: server, subset: narrow } }]
  - match: [{ uri: { prefix: /flaky } }]
    route: [{ destination: { host: server, subset: flaky } }]
  - match: [{ uri: { prefix: /again } }]
    retries: { attempts: 2, retryOn: 5xx, backoff: 100ms }
    route: [{ destination: { host: server, subset: again } }]
  - match: [{ uri: { prefix: /late } }]
    timeout: 400ms
    route: [{ destination: { host: server } }]
  - route: [{ destination: { host: server } }]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: plain, namespace: default }
spec:
  host: plain
  trafficPolicy: { tls: { mode: DISABLE } }
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: server, namespace: default }
spec:
  host: server
  subsets:
  - name: narrow
    labels: { version: v1 }
    trafficPolicy:
      connectionPool:
        tcp: { maxConnections: 1 }
        http: { http1MaxPendingRequests: 1, http2MaxRequests: 1 }
  - name: flaky
    labels: { version: v1 }
    trafficPolicy:
      outlierDetection:
        consecutive5xxErrors: 3
        interval: 1s
        baseEjectionTime: 60s
        maxEjectionPercent: 100
  - name: again
    labels: { version: v1 }
    trafficPolicy: { connectionPool: { http: { maxRetries: 1 } } }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: nobody, namespace: default }
spec:
  hosts: [nobody.example]
  addresses: [198.19.200.1]
  ports:
  - { number: 80, name: http, protocol: HTTP }
  resolution: STATIC
  endpoints: [{ address: ${unreachable}, ports: { http: 9 } }]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: server, namespace: default }
spec:
  selector: { matchLabels: { app: server } }
  action: DENY
  rules: [{ to: [{ operation: { paths: ["/denied*"], ports: ["8080"] } }] }]
`;

export interface MetricsMeshSetup {
  readonly mode: MeshMode;
  readonly dataPlane: DataPlane;
  /** Further Istio YAML, and replacements in heddle.yaml: text → text. */
  readonly rules?: string;
  readonly replace?: Readonly<Record<string, string>>;
}

export async function startMetricsMesh(setup: MetricsMeshSetup): Promise<TestMesh> {
  const { mode, dataPlane, rules = "", replace = {} } = setup;
  let text = heddleYaml;
  for (const [from, to] of Object.entries(replace)) {
    assert(text.includes(from), `heddle.yaml has no ${from}`);
    text = text.replace(from, to);
  }
  const envoy = findEnvoy();
  assert(dataPlane === "heddle" || envoy !== undefined, "there is no Envoy");
  return await startMesh({
    mode,
    dataPlane,
    processes: "heddle",
    files: {
      "heddle.yaml": text,
      "rules.yaml": rulesYaml(mode === "explicit" ? "127.0.0.1" : "198.18.0.1") + rules,
      "app-server.mjs": readFileSync(join(support, "app-server.mjs"), "utf8"),
      "drive.mjs": readFileSync(join(support, "drive.mjs"), "utf8"),
    },
    ...(envoy === undefined ? {} : { environment: { HEDDLE_ENVOY: envoy } }),
  });
}

/** Sends from the client; how often each outcome was seen, added up over the steps. */
export async function drive(
  mesh: TestMesh,
  steps: readonly Step[],
): Promise<Readonly<Record<string, number>>> {
  const script = `'${process.execPath}' '${join(mesh.directory, "drive.mjs")}' '${JSON.stringify(steps)}'`;
  const { code, stdout, stderr } = await mesh.workload("client-0").exec(script);
  assert.equal(code, 0, stderr);
  const outcomes: Readonly<Record<string, number>> = JSON.parse(stdout);
  return outcomes;
}

/** Address of the server's echo over raw TCP, as the client reaches it. */
export function echoOf(mesh: TestMesh, service: "server" | "plain"): string {
  return mesh.mode === "explicit" ? `${service.toUpperCase()}_ADDR` : `${service}:9000`;
}
