/**
 * gRPC's negative tests of HTTP/2: its client asks a server that misbehaves, through two proxies. What the
 * client finds is what it finds through Envoy, and the server has nothing to complain of.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { type Hop, hopBootstrap, hopCertificates } from "./hops.ts";
import { startNegativeServer } from "./negative-server.ts";
import { type PlaneName, planeNames, untilOpen } from "./planes.ts";

const cases = [
  "goaway",
  "rst_after_header",
  "rst_during_data",
  "rst_after_data",
  "ping",
  "max_streams",
  "data_frame_padding",
  "no_df_padding_sanity_test",
] as const;

const folder = process.env["HEDDLE_INTEROP"] ?? ".cache/interop";

/** The last two are the server's alone: any client that wants a large answer will do. */
function clientOf(name: string): readonly [program: string, testCase: string] {
  return name.includes("padding") ? [`${folder}/client`, "large_unary"] : [`${folder}/http2`, name];
}

/** A connection that has not said yet how many streams it takes may refuse some. */
const route = { retry_policy: { retry_on: "refused-stream", num_retries: 20 } };
const certificates = await hopCertificates();

interface Finding {
  readonly code: number | null;
  /** What the client says. */
  readonly says: string;
  readonly complaints: readonly string[];
  readonly connections: number;
}

async function find(name: string, plane: PlaneName): Promise<Finding> {
  const server = await startNegativeServer(name);
  const ports = { outer: await freePort(), inner: await freePort(), server: server.port };
  const closes: (() => Promise<void>)[] = [];
  for (const hop of ["inner", "outer"] satisfies Hop[]) {
    const config = hopBootstrap(hop, ports, certificates, { route });
    if (plane === "envoy") {
      const envoy = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), config);
      closes.push(() => envoy.stop());
    } else closes.push((await startProxyInProcess(config, plane)).close);
    await untilOpen(ports[hop]);
  }
  const [program, testCase] = clientOf(name);
  const target = ["--server_host=127.0.0.1", `--server_port=${ports.outer}`];
  const args = [...target, `--test_case=${testCase}`];
  const child = spawn(program, args, {
    env: { ...process.env, GRPC_GO_LOG_SEVERITY_LEVEL: "error" },
    timeout: 60_000,
  });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  for (const close of closes) await close();
  server.close();
  // Without the time and the stream's address.
  const says = output.replaceAll(/^[\d/]+ [\d:]+ |0x[0-9a-f]+/gm, "").trim();
  return { code, says, complaints: server.complaints, connections: server.connections.size };
}

for (const name of cases) {
  test(`gRPC's negative test ${name} ends as through Envoy`, async (t) => {
    const found: Partial<Record<PlaneName, Finding>> = {};
    for (const plane of planeNames) found[plane] = await find(name, plane);
    const { envoy, portable, epoll } = found;
    t.diagnostic(envoy?.says ?? "");
    for (const one of [portable, epoll]) {
      assert.deepEqual(one?.complaints, []);
      assert.deepEqual(
        { code: one?.code, says: one?.says },
        { code: envoy?.code, says: envoy?.says },
      );
      if (name === "goaway") assert.equal(one?.connections, 2);
      if (name.includes("padding")) assert.equal(one?.code, 0);
    }
  });
}
