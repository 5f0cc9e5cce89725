import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { connect as connectSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import { controlPlaneServerName } from "../identity/authority.ts";
import { parseDocuments } from "../model/documents.ts";
import type { WorkloadInstance, WorkloadSnapshot } from "../model/workload.ts";
import { openGrpcChannel } from "../net/grpc-client.ts";
import { defaultGrpcKeepalive, type GrpcAddress } from "../net/grpc.ts";
import type { Logger } from "../telemetry/logger.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { Node } from "../wire/gen/ts/envoy/config/core/v3/base.ts";
import { AdsClient } from "../xds/ads-client.ts";
import { typeUrls } from "../xds/feed.ts";
import { encodedResource } from "../xds/snapshot.ts";
import { type StartedControlPlane, startControlPlane } from "./control-plane.ts";
import type { ConfigSet } from "./plane/configuration.ts";
import type { Translate } from "./translate.ts";

const token = (name: string): string => `token-of-${name}-0123456789`;

function instance(name: string): WorkloadInstance {
  return {
    name: `${name}-0`,
    workload: name,
    namespace: "default",
    serviceAccount: name,
    labels: { app: name },
    role: "workload",
    addresses: ["198.18.0.9"],
    ports: [],
    capture: "transparent",
    localDestinations: [],
    state: "ready",
    tokenSha256: createHash("sha256").update(token(name)).digest("hex"),
    dataPlane: "heddle",
    adminSocket: "",
    metricsUrl: "",
    restarts: 0,
    sidecarPorts: { outbound: 15001, inbound: 15006 },
  };
}

const running = (revision: number, ...names: readonly string[]): WorkloadSnapshot => ({
  revision,
  services: [],
  instances: names.map(instance),
});

const virtualService = (name: string, host: string): string =>
  [
    "apiVersion: networking.istio.io/v1",
    "kind: VirtualService",
    `metadata: {name: ${name}, namespace: default}`,
    `spec: {hosts: [${host}], http: [{directResponse: {status: 200}}]}`,
    "",
  ].join("\n");

/** A cluster for each VirtualService, for the proxy that the service's name begins with. */
const translate: Translate = (model, proxy) =>
  new Map([
    [
      typeUrls.cluster,
      model.resources.VirtualService.filter(
        ({ name }) => name.startsWith(proxy.workload) || name.startsWith("all"),
      ).map(({ kind, namespace, name, spec }) =>
        encodedResource(name, Buffer.from(JSON.stringify(spec)), {
          origins: [{ kind, namespace, name }],
        }),
      ),
    ],
  ]);

interface Rig {
  readonly plane: StartedControlPlane;
  readonly stateDir: string;
  /** What the configuration folder holds. */
  readonly setFiles: (yaml: string) => void;
  /** Connects the instance's sidecar, which accepts everything but what `refuses` names. */
  readonly connect: (name: string, refuses?: string) => AdsClient;
  /** What the control plane has warned of. */
  readonly warnings: readonly string[];
}

async function withPlane(
  run: (rig: Rig) => Promise<void>,
  stateDir = mkdtempSync(join(tmpdir(), "heddle-control-")),
): Promise<void> {
  let onChange: (config: ConfigSet) => void = () => {};
  const closers: (() => void)[] = [];
  const warnings: string[] = [];
  const log: Logger = {
    ...silentLog,
    warn: (message) => void warnings.push(message),
    area: () => log,
  };
  const plane = await startControlPlane({
    options: {
      mesh: "test",
      configDir: "/nonexistent",
      stateDir,
      trustDomain: "cluster.local",
      rootNamespace: "istio-system",
      secureXds: { address: "127.0.0.1", port: 0 },
      plainXds: { address: "127.0.0.1", port: 0 },
      plainXdsSocket: join(stateDir, "xds.sock"),
      console: { address: "127.0.0.1", port: 0 },
      consoleToken: "",
      apiSocket: "",
      certificateTtlMs: 3_600_000,
      logLevel: "error",
      logFormat: "text",
    },
    clock: systemClock,
    log,
    metrics: createMetricRegistry(),
    watchConfig: (options) => {
      ({ onChange } = options);
      return { ready: Promise.resolve(), rescan: () => Promise.resolve(), close: () => {} };
    },
    translate,
  });
  const connect: Rig["connect"] = (name, refuses) => {
    const channel = openGrpcChannel({
      target: plane.secureAddress,
      tls: () => ({ roots: plane.authority().rootPem, serverName: controlPlaneServerName }),
      keepalive: defaultGrpcKeepalive,
      clock: systemClock,
    });
    const client = new AdsClient({
      channel,
      serverName: "control",
      node: Node.fromPartial({ id: `sidecar~198.18.0.9~${name}-0.default~default.svc` }),
      metadata: () => ({ authorization: `Bearer ${token(name)}` }),
      clock: systemClock,
      log: silentLog,
    });
    client.onUpdate = (update) => {
      const bad = update.resources.find((one) => one.name === refuses);
      update.respond(bad === undefined ? undefined : `${bad.name}: not to my taste`);
    };
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    closers.push(() => {
      client.close();
      channel.close();
    });
    return client;
  };
  try {
    const setFiles = (yaml: string): void => onChange(parseDocuments(yaml, "mesh.yaml"));
    await run({ plane, stateDir, setFiles, connect, warnings });
  } finally {
    for (const closeOne of closers) closeOne();
    await plane.close();
    rmSync(stateDir, { recursive: true });
  }
}

const vs = (name: string) => ({ kind: "VirtualService", namespace: "default", name });
const wait = { timeoutMs: 1000 };

/** Waits for the next change that makes `check` true. */
async function until(plane: StartedControlPlane, check: () => boolean): Promise<void> {
  while (!check()) {
    await new Promise<void>((resolve) => {
      const stop = plane.onChange(() => {
        stop();
        resolve();
      });
    });
  }
}

test("apply() reaches the proxies it concerns, and waitFor() says when", async () => {
  await withPlane(async ({ plane, connect }) => {
    plane.setWorkloads({ kind: "workloads", snapshot: running(1, "cart", "shop"), problems: [] });
    connect("cart");
    connect("shop");
    await plane.settled();
    const { applied, problems, generation } = await plane.apply(virtualService("cart", "cart"), {
      dryRun: false,
    });
    assert.deepEqual(
      problems.filter(({ severity }) => severity === "error"),
      [],
    );
    assert.deepEqual(applied, [{ ref: vs("cart"), change: "created" }]);
    await plane.settled();
    const outcome = await plane.waitFor([vs("cart")], { ...wait, generation });
    assert.deepEqual(outcome, { acked: ["cart-0.default"], pending: [], refused: [] });
    const [cart] = plane.proxies();
    assert.equal(cart?.connection.kind, "connected");
    assert.equal(cart?.types[0]?.label, "CDS");
    assert.equal(cart?.types[0]?.state, "synced");
  });
});

test("waitFor() names the proxies that a change concerns, coming and going, and no others", async () => {
  await withPlane(async ({ plane, connect }) => {
    plane.setWorkloads({ kind: "workloads", snapshot: running(1, "cart", "shop"), problems: [] });
    connect("cart");
    connect("shop");
    const applied = await plane.apply(virtualService("cart", "cart"), { dryRun: false });
    await plane.apply(virtualService("shop", "shop"), { dryRun: false });
    await plane.settled();
    const { generation } = applied;
    const outcome = { acked: ["cart-0.default"], pending: [], refused: [] };
    assert.deepEqual(await plane.waitFor([vs("cart")], { ...wait, generation }), outcome);
    const removed = await plane.remove(vs("cart"));
    await plane.remove(vs("shop"));
    await plane.settled();
    const gone = { ...wait, generation: removed.generation };
    assert.deepEqual(await plane.waitFor([vs("cart")], gone), outcome);
  });
});

test("waitFor() ends with the proxy's own reason and the place of the resource", async () => {
  await withPlane(async ({ plane, connect, setFiles }) => {
    plane.setWorkloads({ kind: "workloads", snapshot: running(1, "cart"), problems: [] });
    connect("cart", "cart");
    setFiles(virtualService("cart", "cart"));
    await plane.settled();
    const { refused } = await plane.waitFor([vs("cart")], wait);
    assert.equal(refused[0]?.proxy, "cart-0.default");
    assert.equal(refused[0]?.reason, "cart: not to my taste");
    assert.equal(refused[0]?.origins[0]?.source?.file, "mesh.yaml");
    const problem = plane.problems().find(({ code }) => code === "xds.refused");
    assert.equal(problem?.source?.file, "mesh.yaml");
    assert.equal(plane.proxies()[0]?.types[0]?.state, "refused");
    setFiles(virtualService("all-good", "cart"));
    await plane.settled();
    const next = await plane.waitFor([vs("all-good")], wait);
    assert.deepEqual(next.acked, ["cart-0.default"]);
    assert.deepEqual(
      plane.problems().filter(({ code }) => code === "xds.refused"),
      [],
    );
  });
});

test("waitFor() names a proxy that is silent", async () => {
  await withPlane(async ({ plane }) => {
    plane.setWorkloads({ kind: "workloads", snapshot: running(1, "cart", "shop"), problems: [] });
    await plane.settled();
    await plane.apply(virtualService("cart", "cart"), { dryRun: false });
    await plane.settled();
    const outcome = await plane.waitFor([vs("cart")], { timeoutMs: 0 });
    assert.deepEqual(outcome.pending, ["cart-0.default"]);
  });
});

test("apply() is refused for what a file holds, and for what is wrong", async () => {
  await withPlane(async ({ plane, setFiles, stateDir }) => {
    setFiles(virtualService("cart", "cart"));
    const taken = await plane.apply(virtualService("cart", "other"), { dryRun: false });
    assert.deepEqual(taken.applied, []);
    assert.equal(taken.problems[0]?.code, "apply.in-file");
    assert.match(taken.problems[0]?.message ?? "", /mesh\.yaml:1/);
    const wrong = await plane.apply("kind: VirtualService\n", { dryRun: false });
    assert.deepEqual(wrong.applied, []);
    assert.notEqual(wrong.problems.length, 0);
    const dry = await plane.apply(virtualService("new", "new"), { dryRun: true });
    assert.equal(dry.applied[0]?.change, "created");
    assert.deepEqual(readdirSync(join(stateDir, "applied")), []);
  });
});

test("what was applied is there after a restart, until it is removed", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "heddle-control-"));
  await withPlane(async ({ plane }) => {
    await plane.apply(virtualService("cart", "cart"), { dryRun: false });
    const { applied } = await plane.apply(virtualService("cart", "cart"), { dryRun: true });
    assert.equal(applied[0]?.change, "unchanged");
    const rootBefore = plane.authority().rootPem;
    // A second control plane over the same folder, as after a crash.
    const copy = mkdtempSync(join(tmpdir(), "heddle-control-"));
    cpSync(stateDir, copy, { recursive: true });
    await withPlane(async (again) => {
      assert.equal(again.plane.authority().rootPem, rootBefore);
      assert.deepEqual(
        again.plane
          .resources({ kind: "virtualservices" })
          .map(({ ref, origin }) => [ref.name, origin]),
        [["cart", "applied"]],
      );
      const removed = await again.plane.remove(vs("cart"));
      assert.deepEqual(removed.applied, [{ ref: vs("cart"), change: "removed" }]);
      assert.deepEqual(again.plane.resources(), []);
      const twice = await again.plane.remove(vs("cart"));
      assert.equal(twice.problems[0]?.code, "apply.not-found");
    }, copy);
  }, stateDir);
});

test("a proxy may only speak for the instance its token is of", async () => {
  await withPlane(async ({ plane, connect }) => {
    plane.setWorkloads({ kind: "workloads", snapshot: running(1, "cart"), problems: [] });
    const stranger = connect("shop");
    const known = connect("cart");
    await plane.settled();
    await until(plane, () => plane.proxies()[0]?.connection.kind === "connected");
    assert.equal(known.status.stream.kind === "lost", false);
    plane.setWorkloads({ kind: "workloads", snapshot: running(2), problems: [] });
    await plane.settled();
    assert.deepEqual(plane.proxies(), []);
    assert.notEqual(stranger.status.stream.kind, "connected");
  });
});

test("plain xDS says the same over loopback and over a Unix socket that only its owner opens", async () => {
  let path = "";
  await withPlane(async ({ plane, stateDir, setFiles }) => {
    path = join(stateDir, "xds.sock");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    plane.setWorkloads({ kind: "workloads", snapshot: running(1, "cart"), problems: [] });
    setFiles(virtualService("cart", "cart"));
    await plane.settled();
    assert(plane.plainAddress !== undefined);
    const overLoopback = await clustersOver(plane.plainAddress, "cart");
    assert.deepEqual(overLoopback, ["cart"]);
    assert.deepEqual(await clustersOver({ path }, "cart"), overLoopback);
    await plane.close();
    assert.equal(existsSync(path), false);
  });
});

/** The names of the clusters that an ADS client without a token gets. */
async function clustersOver(target: GrpcAddress, name: string): Promise<readonly string[]> {
  const channel = openGrpcChannel({
    target,
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  const client = new AdsClient({
    channel,
    serverName: "control",
    node: Node.fromPartial({ id: `sidecar~198.18.0.9~${name}-0.default~default.svc` }),
    metadata: () => ({}),
    clock: systemClock,
    log: silentLog,
  });
  const names = new Promise<readonly string[]>((resolve) => {
    client.onUpdate = (update) => {
      update.respond(undefined);
      resolve(update.resources.map((one) => one.name));
    };
  });
  client.subscribe(typeUrls.cluster, "*");
  client.start();
  try {
    return await names;
  } finally {
    client.close();
    channel.close();
  }
}

test("setWorkloads() drops what is older than it knows", async () => {
  await withPlane(async ({ plane }) => {
    plane.setWorkloads({ kind: "workloads", snapshot: running(2, "cart"), problems: [] });
    plane.setWorkloads({ kind: "workloads", snapshot: running(1, "shop"), problems: [] });
    await plane.settled();
    assert.deepEqual(
      plane.proxies().map(({ proxy }) => proxy),
      ["cart-0.default"],
    );
  });
});

test("handshakes that fail fill no log, whoever provokes them", async () => {
  await withPlane(async ({ plane, warnings }) => {
    const { secureAddress } = plane;
    assert.ok("port" in secureAddress);
    const { address: host, port } = secureAddress;
    const strangers = Array.from({ length: 40 }, async () => {
      const socket = connectSocket({ host, port });
      socket.on("error", () => {}).resume();
      socket.write("this is no TLS\r\n\r\n");
      await once(socket, "close");
    });
    await Promise.all(strangers);
    const lines = warnings.filter((message) => message === "handshake failed").length;
    assert.ok(lines > 0 && lines <= 20, `${lines} lines`);
  });
});
