import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import { openGrpcChannel } from "../net/grpc-client.ts";
import { startGrpcServer } from "../net/grpc-server.ts";
import { defaultGrpcKeepalive, GrpcError } from "../net/grpc.ts";
import { Node } from "../wire/gen/ts/envoy/config/core/v3/base.ts";
import { grpcStatus } from "../wire/grpc.ts";
import { AdsClient, type AdsStatus } from "./ads-client.ts";
import { AdsServer, type Authenticate, type ProxyAnswer } from "./ads-server.ts";
import { typeUrls, type XdsUpdate } from "./feed.ts";
import { encodedResource, snapshotOf } from "./snapshot.ts";

const field = (number: number, text: string) =>
  Buffer.concat([Buffer.from([(number << 3) | 2, text.length]), Buffer.from(text)]);

/** A message whose first field is its name, as all types have it. */
const one = (name: string, content: string, ...references: readonly string[]) =>
  encodedResource(name, Buffer.concat([field(1, name), field(15, content)]), { references });

const cluster = (version: string, ...contents: readonly string[]) =>
  snapshotOf(version, [[typeUrls.cluster, contents.map((text) => one(text[0] ?? "", text))]]);

/** Values that arrive one by one; `next()` waits for the next. */
class Arrivals<Value> {
  readonly #values: Value[] = [];
  #wake: (() => void) | undefined;

  add(value: Value): void {
    this.#values.push(value);
    this.#wake?.();
  }

  async next(): Promise<Value> {
    for (;;) {
      const value = this.#values.shift();
      if (value !== undefined) return value;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }
}

const authenticate: Authenticate = (call, node) => {
  if (call.metadata("authorization") !== "Bearer right") {
    throw new GrpcError(grpcStatus.unauthenticated, "unknown token");
  }
  return node?.id ?? "";
};

interface Mesh {
  readonly server: AdsServer;
  readonly client: AdsClient;
  readonly clientClock: FakeClock;
  readonly updates: Arrivals<XdsUpdate>;
  readonly answers: Arrivals<ProxyAnswer>;
  readonly statuses: Arrivals<AdsStatus["stream"]["kind"]>;
  /** Ends all streams, as a restarted control plane does; the server comes back on the same port. */
  restart(): Promise<void>;
}

interface MeshCase {
  readonly token?: string;
  readonly variant?: "delta" | "sotw";
}

async function withMesh(
  run: (mesh: Mesh) => Promise<void>,
  { token = "right", variant = "delta" }: MeshCase = {},
): Promise<void> {
  const answers = new Arrivals<ProxyAnswer>();
  const updates = new Arrivals<XdsUpdate>();
  const statuses = new Arrivals<AdsStatus["stream"]["kind"]>();
  const makeServer = () =>
    new AdsServer({
      clock: systemClock,
      log: silentLog,
      events: { onAnswer: (_, answer) => answers.add(answer) },
    });
  let server = makeServer();
  const listen = (port: number) =>
    startGrpcServer({
      listen: { address: "127.0.0.1", port },
      methods: server.methods(authenticate),
      keepalive: defaultGrpcKeepalive,
      clock: systemClock,
      log: silentLog,
    });
  let grpc = await listen(0);
  const { address } = grpc;
  assert.ok("port" in address);
  const channel = openGrpcChannel({
    target: address,
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  const clientClock = new FakeClock();
  let lastKind = "";
  const client = new AdsClient({
    channel,
    serverName: "control",
    variant,
    node: Node.fromPartial({ id: "p" }),
    metadata: () => ({ authorization: `Bearer ${token}` }),
    clock: clientClock,
    log: silentLog,
    random: () => 0.5,
    onStatus: ({ stream }) => {
      if (stream.kind !== lastKind) statuses.add(stream.kind);
      lastKind = stream.kind;
    },
  });
  client.onUpdate = (update) => updates.add(update);
  const mesh: Mesh = {
    get server() {
      return server;
    },
    client,
    clientClock,
    updates,
    answers,
    statuses,
    restart: async () => {
      await grpc.close();
      server = makeServer();
      grpc = await listen(address.port);
    },
  };
  try {
    await run(mesh);
  } finally {
    client.close();
    channel.close();
    await grpc.close();
  }
}

const names = (update: XdsUpdate): string =>
  [...update.resources.map(({ name }) => name), ...update.removed.map((name) => `-${name}`)].join(
    " ",
  );

test("AdsServer forgets a refusal when its client accepts the resource after all", async () => {
  await withMesh(async ({ server, client, updates, answers }) => {
    server.setSnapshot("p", cluster("1", "a1", "b1"));
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    (await updates.next()).respond("a: its address is taken");
    assert.equal((await answers.next()).kind, "refused");
    const rest = await updates.next();
    assert.equal(names(rest), "b");
    rest.respond();
    assert.equal((await answers.next()).kind, "acked");
    const refusal = (): unknown => server.status("p")?.types[0]?.refusal;
    assert.notEqual(refusal(), undefined);
    client.refresh(typeUrls.cluster, "a");
    const again = await updates.next();
    assert.equal(names(again), "a");
    again.respond();
    await answers.next();
    assert.equal(refusal(), undefined);
    assert.equal(server.isSynced("p"), true);
  });
});

test("AdsServer and AdsClient: a snapshot arrives, is acknowledged, and changes follow", async () => {
  await withMesh(async ({ server, client, updates, answers }) => {
    server.setSnapshot("p", cluster("1", "a1", "b1"));
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    const first = await updates.next();
    assert.equal(names(first), "a b");
    assert.equal(server.isSynced("p"), false);
    first.respond();
    const acked = await answers.next();
    assert(acked.kind === "acked");
    assert.equal(acked.typeUrl, typeUrls.cluster);
    assert.equal(acked.version, "1");
    assert.deepEqual(
      acked.resources.map(({ name }) => name),
      ["a", "b"],
    );
    assert.equal(server.isSynced("p"), true);
    server.setSnapshot("p", cluster("2", "a2"));
    const second = await updates.next();
    assert.equal(names(second), "a");
    second.respond();
    const third = await updates.next();
    assert.equal(names(third), "-b");
    third.respond();
    await answers.next();
    await answers.next();
    assert.equal(server.isSynced("p"), true);
    assert.equal(client.status.types.get(typeUrls.cluster)?.version, "2");
  });
});

test("AdsClient: a refusal reaches the server with its reason and the resource named in it", async () => {
  await withMesh(async ({ server, client, updates, answers }) => {
    server.setSnapshot("p", cluster("1", "a1", "b1", "c1", "d1", "e1"));
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    (await updates.next()).respond("cluster c: unknown load balancer");
    const answer = await answers.next();
    assert.deepEqual(
      answer.kind === "refused" ? answer.reason : "",
      "cluster c: unknown load balancer",
    );
    const [type] = server.status("p")?.types ?? [];
    assert.equal(type?.refusal?.version, "1");
    assert.equal(client.status.types.get(typeUrls.cluster)?.refusals, 1);
  });
});

test("AdsClient: names wanted while clusters are applied are asked for together afterwards", async () => {
  await withMesh(async ({ server, client, updates }) => {
    server.setSnapshot(
      "p",
      snapshotOf("1", [
        [typeUrls.cluster, [one("a", "1", "ea"), one("b", "1", "eb")]],
        [typeUrls.endpoint, [one("ea", "1"), one("eb", "1")]],
      ]),
    );
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    const clusters = await updates.next();
    client.subscribe(typeUrls.endpoint, new Set(["ea"]));
    await Promise.resolve();
    client.subscribe(typeUrls.endpoint, new Set(["ea", "eb"]));
    clusters.respond();
    const endpoints = await updates.next();
    assert.equal(names(endpoints), "ea eb");
    endpoints.respond();
  });
});

test("AdsClient: after a restart of the server only what changed is transferred", async () => {
  await withMesh(async (mesh) => {
    const { client, updates, statuses, clientClock, answers } = mesh;
    mesh.server.setSnapshot("p", cluster("1", "a1", "b1"));
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    (await updates.next()).respond();
    await answers.next();
    assert.equal(await statuses.next(), "connected");
    await mesh.restart();
    assert.equal(await statuses.next(), "lost");
    mesh.server.setSnapshot("p", cluster("2", "a1", "b2", "c1"));
    clientClock.advance(30_000);
    const update = await updates.next();
    assert.equal(names(update), "b c");
    update.respond();
    assert.equal(await statuses.next(), "connected");
  });
});

test("AdsClient: a refused token is reported as the reason", async () => {
  await withMesh(
    async ({ client, statuses }) => {
      client.subscribe(typeUrls.cluster, "*");
      client.start();
      assert.equal(await statuses.next(), "lost");
      const { stream } = client.status;
      assert.equal(
        stream.kind === "lost" ? `${stream.code}: ${stream.reason}` : "",
        "unauthenticated: unknown token",
      );
    },
    { token: "wrong" },
  );
});

test("AdsServer.remove() ends the streams of a proxy that is gone", async () => {
  await withMesh(async ({ server, client, updates, statuses }) => {
    server.setSnapshot("p", cluster("1", "a1"));
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    (await updates.next()).respond();
    assert.equal(await statuses.next(), "connected");
    server.remove("p");
    assert.equal(await statuses.next(), "lost");
    assert.equal(server.status("p"), undefined);
  });
});

test("AdsClient, state of the world: a snapshot, changes and removals arrive as in the other", async () => {
  await withMesh(
    async ({ server, client, updates, answers }) => {
      server.setSnapshot("p", cluster("1", "a1", "b1"));
      client.subscribe(typeUrls.cluster, "*");
      client.start();
      const first = await updates.next();
      assert.equal(names(first), "a b");
      first.respond();
      const acked = await answers.next();
      assert(acked.kind === "acked");
      assert.equal(acked.typeUrl, typeUrls.cluster);
      assert.equal(acked.version, "1");
      assert.deepEqual(
        acked.resources.map(({ name }) => name),
        ["a", "b"],
      );
      server.setSnapshot("p", cluster("2", "a2"));
      const second = await updates.next();
      // What did not change is not told again; what vanishes goes last.
      assert.equal(names(second), "a");
      second.respond();
      const third = await updates.next();
      assert.equal(names(third), "-b");
      third.respond();
      await answers.next();
      await answers.next();
      assert.equal(server.isSynced("p"), true);
      assert.equal(client.status.types.get(typeUrls.cluster)?.version, "2");
      assert.equal(client.status.types.get(typeUrls.cluster)?.resources, 1);
    },
    { variant: "sotw" },
  );
});

test("AdsClient, state of the world: a refusal names the last good version", async () => {
  await withMesh(
    async ({ server, client, updates, answers }) => {
      server.setSnapshot("p", cluster("1", "a1"));
      client.subscribe(typeUrls.cluster, "*");
      client.start();
      (await updates.next()).respond();
      await answers.next();
      server.setSnapshot("p", cluster("2", "a2"));
      (await updates.next()).respond("a: unknown load balancer");
      const answer = await answers.next();
      assert.equal(answer.kind === "refused" ? answer.reason : "", "a: unknown load balancer");
      assert.equal(client.status.types.get(typeUrls.cluster)?.version, "1");
      assert.equal(server.status("p")?.types[0]?.refusal?.version, "2");
    },
    { variant: "sotw" },
  );
});

test("AdsClient, state of the world: names come and go, and silence ends a wait", async () => {
  await withMesh(
    async ({ server, client, clientClock, updates, answers }) => {
      const endpoints = [one("ea", "1"), one("eb", "1")];
      server.setSnapshot(
        "p",
        snapshotOf("1", [
          [typeUrls.cluster, [one("a", "1", "ea"), one("b", "1", "eb")]],
          [typeUrls.endpoint, endpoints],
        ]),
      );
      client.subscribe(typeUrls.cluster, "*");
      client.start();
      (await updates.next()).respond();
      await answers.next();
      client.subscribe(typeUrls.endpoint, new Set(["ea"]));
      const first = await updates.next();
      assert.equal(names(first), "ea");
      first.respond();
      await answers.next();
      client.subscribe(typeUrls.endpoint, new Set(["ea", "eb", "missing"]));
      const second = await updates.next();
      assert.equal(names(second), "eb");
      second.respond();
      await answers.next();
      clientClock.advance(15_000);
      assert.equal(names(await updates.next()), "-missing");
    },
    { variant: "sotw" },
  );
});

test("AdsClient, state of the world: after a restart only what changed is handed on", async () => {
  await withMesh(
    async (mesh) => {
      const { client, updates, statuses, clientClock, answers } = mesh;
      mesh.server.setSnapshot("p", cluster("1", "a1", "b1"));
      client.subscribe(typeUrls.cluster, "*");
      client.start();
      (await updates.next()).respond();
      await answers.next();
      assert.equal(await statuses.next(), "connected");
      await mesh.restart();
      assert.equal(await statuses.next(), "lost");
      mesh.server.setSnapshot("p", cluster("2", "a1", "b2", "c1"));
      clientClock.advance(30_000);
      assert.equal(names(await updates.next()), "b c");
    },
    { variant: "sotw" },
  );
});
