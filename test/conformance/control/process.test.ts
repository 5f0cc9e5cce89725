import assert from "node:assert/strict";
import { type ChildProcess, fork } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";

import { systemClock } from "../../../src/base/clock.ts";
import type { ControlOptions, WorkloadsMessage } from "../../../src/control/options.ts";
import { controlPlaneServerName } from "../../../src/identity/authority.ts";
import { requestCertificate } from "../../../src/identity/certificate-client.ts";
import { openGrpcChannel } from "../../../src/net/grpc-client.ts";
import { defaultGrpcKeepalive } from "../../../src/net/grpc.ts";
import { Node } from "../../../src/wire/gen/ts/envoy/config/core/v3/base.ts";
import { AdsClient } from "../../../src/xds/ads-client.ts";
import { typeUrls, type XdsUpdate } from "../../../src/xds/feed.ts";
import { freePort } from "../../support/free-port.ts";
import { silentLog } from "../../support/silent-log.ts";

// `heddle control` as the supervisor runs it: options in a file, what runs over IPC, killed at will.
const token = "a-token-of-enough-bytes";
const workloads: WorkloadsMessage = {
  kind: "workloads",
  problems: [],
  snapshot: {
    revision: 1,
    services: [
      {
        name: "cart",
        namespace: "default",
        addresses: ["198.19.0.1"],
        ports: [{ name: "http", port: 80, targetPort: 8080, protocol: "http" }],
        selector: { app: "cart" },
      },
    ],
    instances: [
      {
        name: "cart-0",
        workload: "cart",
        namespace: "default",
        serviceAccount: "cart",
        labels: { app: "cart" },
        role: "workload",
        addresses: ["198.18.0.9"],
        ports: [],
        capture: "transparent",
        localDestinations: [],
        state: "ready",
        tokenSha256: createHash("sha256").update(token).digest("hex"),
        dataPlane: "heddle",
        adminSocket: "",
        metricsUrl: "",
        restarts: 0,
        sidecarPorts: { outbound: 15001, inbound: 15006 },
      },
    ],
  },
};

interface Process {
  readonly child: ChildProcess;
  /** Standard error so far. */
  readonly log: () => string;
}

async function startControl(optionsFile: string): Promise<Process> {
  const child = fork(resolve("src/cli/main.ts"), ["control", "--options", optionsFile], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
  });
  let log = "";
  child.stderr?.on("data", (chunk: Buffer) => (log += chunk.toString()));
  child.send(workloads);
  const ready = once(child, "message");
  const exited = once(child, "exit").then(() => assert.fail(`ended before it was ready: ${log}`));
  const [message]: unknown[] = await Promise.race([ready, exited]);
  assert.deepEqual(message, { kind: "ready" });
  exited.catch(() => {}); // it ends some day
  return { child, log: () => log };
}

async function stop(child: ChildProcess, how: () => void): Promise<void> {
  const exited = once(child, "exit");
  how();
  await exited;
}

test("heddle control: serves, follows, survives SIGKILL, ends with its supervisor", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-control-"));
  const configDir = join(folder, "mesh");
  mkdirSync(configDir);
  const secureXds = { address: "127.0.0.1", port: await freePort() };
  const options: ControlOptions = {
    mesh: "test",
    configDir,
    stateDir: join(folder, "state"),
    trustDomain: "cluster.local",
    rootNamespace: "istio-system",
    secureXds,
    console: { address: "127.0.0.1", port: 0 },
    consoleToken: "0123456789abcdef",
    apiSocket: join(folder, "api.sock"),
    certificateTtlMs: 3_600_000,
    logLevel: "info",
    logFormat: "text",
  };
  const optionsFile = join(folder, "options.json");
  writeFileSync(optionsFile, JSON.stringify(options), { mode: 0o600 });
  let control = await startControl(optionsFile);
  const rootPem = readFileSync(join(options.stateDir, "ca", "root-cert.pem"), "utf8");
  const channel = openGrpcChannel({
    target: secureXds,
    tls: () => ({ roots: rootPem, serverName: controlPlaneServerName }),
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  const metadata = () => ({ authorization: `Bearer ${token}` });
  const client = new AdsClient({
    channel,
    serverName: "control",
    node: Node.fromPartial({ id: "sidecar~198.18.0.9~cart-0.default~default.svc.cluster.local" }),
    metadata,
    clock: systemClock,
    log: silentLog,
  });
  const updates: XdsUpdate[] = [];
  let wake = (): void => {};
  client.onUpdate = (update) => {
    update.respond();
    updates.push(update);
    wake();
  };
  const nextUpdate = async (): Promise<XdsUpdate> => {
    while (updates.length === 0) await new Promise<void>((done) => (wake = done));
    const [update] = updates.splice(0, 1);
    assert.ok(update !== undefined);
    return update;
  };
  try {
    const certificate = await requestCertificate({
      channel,
      metadata,
      instance: "cart-0.default",
      rootPem,
    });
    assert.equal(certificate.spiffeId, "spiffe://cluster.local/ns/default/sa/cart");

    client.subscribe(typeUrls.cluster, "*");
    client.start();
    const first = await nextUpdate();
    const cart = "outbound|80||cart.default.svc.cluster.local";
    assert.ok(first.resources.some(({ name }) => name === cart));

    const entry = (name: string): void => {
      const draft = join(folder, "draft.yaml");
      writeFileSync(
        draft,
        `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: default}
spec:
  hosts: [${name}.example.com]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 192.0.2.1}]
`,
      );
      renameSync(draft, join(configDir, `${name}.yaml`));
    };
    entry("one");
    const second = await nextUpdate();
    assert.deepEqual(
      second.resources.map(({ name }) => name),
      ["outbound|80||one.example.com"],
    );

    await stop(control.child, () => control.child.kill("SIGKILL"));
    entry("two");
    control = await startControl(optionsFile);
    // Only what it missed: everything else it still has.
    const third = await nextUpdate();
    assert.deepEqual(
      third.resources.map(({ name }) => name),
      ["outbound|80||two.example.com"],
    );
    assert.equal(readFileSync(join(options.stateDir, "ca", "root-cert.pem"), "utf8"), rootPem);
    assert.doesNotMatch(control.log(), /PRIVATE KEY/);
  } finally {
    client.close();
    channel.close();
    await stop(control.child, () => control.child.disconnect());
    rmSync(folder, { recursive: true });
  }
});
