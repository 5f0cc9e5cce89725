/**
 * gRPC's own tests of interoperation: its client asks its server through two proxies, HTTP/2 with mutual
 * TLS between them. Under Heddle on either backend, and under Envoy with the same files.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { after, before, test } from "node:test";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { type Hop, hopBootstrap, hopCertificates } from "./hops.ts";
import { type PlaneName, planeNames, untilOpen } from "./planes.ts";

/**
 * All that gRPC's Go client has, but those that ask for Google's credentials, and `pick_first_unary`: the
 * server does not say who it is.
 */
const cases = [
  "empty_unary",
  "large_unary",
  "client_streaming",
  "server_streaming",
  "ping_pong",
  "empty_stream",
  "timeout_on_sleeping_server",
  "cancel_after_begin",
  "cancel_after_first_response",
  "status_code_and_message",
  "special_status_message",
  "custom_metadata",
  "unimplemented_method",
  "unimplemented_service",
  "rpc_soak",
  "channel_soak",
  "orca_per_rpc",
  "orca_oob",
] as const;

const folder = process.env["HEDDLE_INTEROP"] ?? ".cache/interop";
const planes = new Map<PlaneName, Plane>();
let server: ChildProcess | undefined;

interface Plane {
  readonly port: number;
  readonly close: () => Promise<void>;
}

async function start(name: PlaneName, serverPort: number): Promise<Plane> {
  const certificates = await hopCertificates();
  const ports = { outer: await freePort(), inner: await freePort() };
  const closes: (() => Promise<void>)[] = [];
  for (const hop of ["inner", "outer"] satisfies Hop[]) {
    const config = hopBootstrap(hop, { ...ports, server: serverPort }, certificates);
    if (name === "envoy") {
      const envoy = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), config);
      closes.push(() => envoy.stop());
    } else closes.push((await startProxyInProcess(config, name)).close);
    await untilOpen(ports[hop]);
  }
  const close = async (): Promise<void> => {
    for (const one of closes) await one();
  };
  return { port: ports.outer, close };
}

before(async () => {
  const serverPort = await freePort();
  server = spawn(`${folder}/server`, [`--port=${serverPort}`], { stdio: "ignore" });
  await untilOpen(serverPort);
  for (const name of planeNames) planes.set(name, await start(name, serverPort));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  server?.kill("SIGKILL");
});

async function runCase(port: number, name: string): Promise<string> {
  const soak = [
    "--soak_iterations=5",
    "--soak_per_iteration_max_acceptable_latency_ms=20000",
    "--soak_overall_timeout_seconds=50",
  ];
  // What asks for it is the client's own balancer.
  const balancer = { loadBalancingConfig: [{ test_backend_metrics_load_balancer: {} }] };
  if (name.startsWith("orca")) soak.push(`--service_config_json=${JSON.stringify(balancer)}`);
  const args = ["--server_host=127.0.0.1", `--server_port=${port}`, `--test_case=${name}`];
  const child = spawn(`${folder}/client`, [...args, ...soak], {
    env: { ...process.env, GRPC_GO_LOG_SEVERITY_LEVEL: "error" },
    timeout: 60_000,
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  }
  const [code] = await new Promise<[number | null]>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (status) => resolve([status]));
  });
  return code === 0 ? "" : `ended with ${code}: ${output}`;
}

for (const name of planeNames) {
  for (const one of cases) {
    test(`gRPC's interoperation test ${one} passes two proxies (${name})`, async () => {
      const { port } = planes.get(name) ?? assert.fail();
      assert.equal(await runCase(port, one), "");
    });
  }
}
