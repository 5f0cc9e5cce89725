import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { DialOptions } from "../../net/dialler.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { FakeClock } from "../../../test/support/fake-clock.ts";
import { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { healthFlag } from "../engine/health-check.ts";
import { clusterSeries } from "../stats/envoy-series.ts";
import type { HealthReport } from "./cluster-health.ts";
import type { EndpointDescription } from "./endpoint.ts";
import type { HealthPlan } from "./health-plan.ts";
import type { MembersOptions } from "./members.ts";
import { compileCluster } from "./plan.ts";
import type { ProxyHeaderPlan } from "./proxy-header.ts";
import { type ClusterServices, RunningCluster } from "./running-cluster.ts";
import { ToldHealth } from "./told-health.ts";

const seconds = (value: number) => ({ seconds: BigInt(value), nanos: 0 });

function planWith(more: object = {}) {
  return compileCluster(
    Cluster.fromPartial({
      name: "shop",
      healthChecks: [
        {
          timeout: seconds(1),
          interval: seconds(5),
          noTrafficInterval: seconds(60),
          unhealthyThreshold: 1,
          healthyThreshold: 1,
          httpHealthCheck: { path: "/well" },
        },
      ],
      ...more,
    }),
  );
}

const endpoint = (host: number, more: Partial<EndpointDescription> = {}): EndpointDescription => ({
  address: { address: `192.0.2.${host}`, port: 80 },
  hostname: "",
  weight: 1,
  status: "UNKNOWN",
  metadata: {},
  tls: undefined,
  ...more,
});

/** Two checks where there was one. */
function twice({ checks: [check] }: HealthPlan): HealthPlan["checks"] {
  return [
    { ...check, name: "one" },
    { ...check, name: "two" },
  ];
}

/** A cluster whose endpoints are scripts: each dial waits in `dials`. */
class Rig {
  readonly clock = new FakeClock();
  readonly dials: { readonly options: DialOptions; readonly channel: ScriptedChannel }[] = [];
  readonly reported: ReadonlyMap<string, number>[] = [];
  readonly returned: string[] = [];
  readonly told = new ToldHealth();
  readonly traffic = { isSeen: false };
  readonly running: RunningCluster;
  known = 0;

  constructor(
    plan = planWith(),
    services: Partial<ClusterServices> = {},
    more: Partial<MembersOptions> = {},
  ) {
    const metrics = createMetricRegistry();
    this.running = new RunningCluster(plan, {
      series: clusterSeries(metrics, "shop"),
      services: {
        clock: this.clock,
        log: silentLog,
        random: () => 0,
        dialler: {
          dial: (options) => {
            const channel = new ScriptedChannel();
            channel.handler = options.handler;
            this.dials.push({ options, channel });
            return channel;
          },
        },
        ...services,
      },
      tlsFor: () => undefined,
      socketFor: () => undefined,
      traffic: this.traffic,
      onHealth: (flags, returned) => {
        this.reported.push(flags);
        this.returned.push(...returned);
      },
      onHealthKnown: () => this.known++,
      ...more,
    });
  }

  set(...hosts: readonly EndpointDescription[]): void {
    this.running.setEndpoints([{ priority: 0, weight: 1, endpoints: hosts }]);
  }

  /** Answers the question of the dial at this place. */
  answer(index: number, status = 200): void {
    const dial = this.dials[index];
    assert.ok(dial !== undefined);
    if (dial.channel.take() === "") dial.options.onConnect(dial.channel);
    dial.channel.take();
    dial.channel.send(`HTTP/1.1 ${status} \r\ncontent-length: 0\r\n\r\n`);
  }

  get flags(): readonly number[] {
    return this.running.localities.flatMap(({ members }) => members.map((one) => one.checked));
  }

  get picks(): string {
    const seen = new Set<string>();
    for (let i = 0; i < 8; i++) {
      const connection = {
        sourceAddress: "127.0.0.1",
        sourcePort: 0,
        destinationAddress: "127.0.0.1",
        destinationPort: 0,
        sni: undefined,
        alpn: undefined,
        isTls: false,
        peerUriSans: [],
      };
      const picked = this.running.pick({ connection, hash: undefined, avoid: undefined });
      if (picked !== undefined) seen.add(picked.address.address.slice(-1));
    }
    return [...seen].toSorted().join("");
  }
}

describe("RunningCluster with health checks", () => {
  test("is warm when every endpoint has been checked, well or not", () => {
    const rig = new Rig();
    rig.set(endpoint(1), endpoint(2));
    assert.equal(rig.running.isWarm, false);
    rig.answer(0);
    assert.equal(rig.running.isWarm, false);
    rig.answer(1, 500);
    assert.equal(rig.running.isWarm, true);
    assert.equal(rig.known, 1);
    assert.deepEqual(rig.flags, [0, healthFlag.failed]);
    rig.running.close();
  });

  test("asks more often once requests have come", () => {
    const rig = new Rig();
    rig.set(endpoint(1));
    rig.answer(0);
    rig.clock.advance(59_000);
    assert.equal(rig.dials[0]?.channel.take(), "");
    rig.clock.advance(1000);
    assert.match(rig.dials[0]?.channel.take() ?? "", /^GET \/well HTTP\/1\.1\r\nhost: shop\r\n/);
    rig.running.counters.onConnectionOpened();
    rig.dials[0]?.channel.send("HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n");
    rig.clock.advance(5000);
    assert.notEqual(rig.dials[0]?.channel.take(), "");
    rig.running.close();
  });

  test("gives up a check that takes too long, and closes its connection", () => {
    const rig = new Rig();
    rig.set(endpoint(1));
    rig.clock.advance(1000);
    assert.equal(rig.dials[0]?.channel.isClosed, true);
    assert.deepEqual(rig.flags, [healthFlag.failed | healthFlag.timedOut]);
    rig.clock.advance(60_000);
    assert.equal(rig.dials.length, 2);
    rig.running.close();
  });

  test("fails an endpoint that breaks the protocol, and not what comes unasked", () => {
    const rig = new Rig();
    rig.set(endpoint(1));
    rig.answer(0);
    rig.dials[0]?.channel.send("HTTP/1.1 200 \r\ncontent-length: 0\r\n\r\n");
    assert.equal(rig.dials[0]?.channel.isClosed, true);
    assert.deepEqual(rig.flags, [0]);
    rig.clock.advance(60_000);
    rig.dials[1]?.options.onConnect(rig.dials[1].channel);
    rig.dials[1]?.channel.send("nonsense\r\n\r\n");
    assert.deepEqual(rig.flags, [healthFlag.failed]);
    rig.running.close();
  });

  test("keeps one that is named no more until it fails", () => {
    const rig = new Rig();
    rig.set(endpoint(1), endpoint(2));
    rig.answer(0);
    rig.answer(1);
    rig.set(endpoint(1));
    assert.equal(rig.flags.length, 2);
    assert.equal(rig.picks, "12");
    rig.clock.advance(60_000);
    rig.answer(1, 500);
    assert.equal(rig.flags.length, 1);
    assert.equal(rig.picks, "1");
    assert.equal(rig.dials[1]?.channel.isClosed, true);
    rig.running.close();
  });

  test("forgets one that is named no more and fails, or where it is told to", () => {
    for (const [forgets, status] of [
      [false, 500],
      [true, 200],
    ] as const) {
      const rig = new Rig(planWith({ ignoreHealthOnHostRemoval: forgets }));
      rig.set(endpoint(1), endpoint(2));
      rig.answer(0);
      rig.answer(1, status);
      rig.set(endpoint(1));
      assert.equal(rig.flags.length, 1);
      rig.running.close();
    }
  });

  test("knows an endpoint again whose metadata has changed, and one that is named again", () => {
    const rig = new Rig();
    rig.set(endpoint(1));
    rig.answer(0);
    rig.set(endpoint(1, { metadata: { x: { y: "z" } } }));
    assert.deepEqual(rig.flags, [0]);
    rig.set();
    rig.set(endpoint(1, { metadata: { x: { y: "z" } } }));
    assert.deepEqual(rig.flags, [0]);
    assert.equal(rig.dials.length, 1);
    rig.running.close();
  });

  test("begins anew with an endpoint that is to be asked elsewhere", () => {
    const rig = new Rig();
    rig.set(endpoint(1));
    rig.answer(0);
    const check = { address: undefined, port: 81, hostname: "", isOff: false };
    rig.set(endpoint(1, { check }));
    assert.deepEqual(rig.flags, [healthFlag.failed]);
    assert.equal(rig.dials[1]?.options.address.port, 81);
    rig.running.close();
  });

  test("asks from a local address of the family that it asks", () => {
    const from = (address: string): object => ({ address, portValue: 0 });
    const upstreamBindConfig = {
      sourceAddress: from("10.0.0.9"),
      extraSourceAddresses: [{ address: from("fd00::9") }],
    };
    const rig = new Rig(planWith({ upstreamBindConfig }));
    const check = { address: "fd00::1", port: 80, hostname: "", isOff: false };
    rig.set(endpoint(1, { check }), endpoint(2));
    const sources = rig.dials.map(({ options }) => options.sourceAddress);
    assert.deepEqual(sources, ["fd00::9", "10.0.0.9"]);
    rig.running.close();
  });

  test("begins anew with an endpoint whose connections begin otherwise", () => {
    const header: ProxyHeaderPlan = { version: 2, passes: () => false, added: [] };
    const rig = new Rig(
      planWith(),
      {},
      {
        socketFor: (metadata) => {
          const isTold = metadata["envoy.transport_socket_match"] !== undefined;
          return { passes: undefined, header: isTold ? header : undefined };
        },
      },
    );
    rig.set(endpoint(1));
    rig.answer(0);
    assert.equal(rig.dials[0]?.options.preface, undefined);
    rig.set(endpoint(1, { metadata: { "envoy.transport_socket_match": { proxy: "yes" } } }));
    assert.notEqual(rig.dials[1]?.options.preface, undefined);
    rig.running.close();
  });

  test("counts what several checks say together, whichever version goes", () => {
    const metrics = createMetricRegistry();
    const series = clusterSeries(metrics, "shop");
    const plan = planWith();
    const { health } = plan;
    assert.ok(health !== undefined);
    const several = { ...plan, health: { ...health, checks: twice(health) } };
    const start = (): Rig => {
      const rig = new Rig(several, {}, { series });
      rig.set(endpoint(1));
      rig.answer(0);
      rig.answer(1);
      return rig;
    };
    const before = start();
    const after = start();
    before.running.close();
    assert.equal(series.healthGauges().healthy.value, 1);
    after.running.close();
    assert.equal(series.healthGauges().healthy.value, 0);
  });

  test("lets an ejected endpoint back that passes", () => {
    const rig = new Rig(planWith({ outlierDetection: { maxEjectionPercent: 100 } }));
    rig.set(endpoint(1), endpoint(2));
    rig.answer(0);
    rig.answer(1);
    rig.running.eject({ cluster: "shop", endpoint: "192.0.2.2:80", durationMs: 1e9 });
    assert.equal(rig.picks, "1");
    rig.clock.advance(60_000);
    rig.answer(1);
    assert.equal(rig.picks, "12");
    assert.deepEqual(rig.returned, ["192.0.2.2:80"]);
    rig.running.close();
  });
});

describe("a thread that does not check", () => {
  const report = (flags: Readonly<Record<string, number>>, isWhole = false): HealthReport => ({
    cluster: "shop",
    flags: new Map(Object.entries(flags)),
    isWhole,
    returned: [],
  });

  test("waits to be told, and serves by what it was told", () => {
    const news: unknown[] = [];
    const told = new ToldHealth();
    const rig = new Rig(planWith(), { toldHealth: told, onHealthNews: (one) => news.push(one) });
    const take = (one: HealthReport): void => {
      told.take(one);
      rig.running.onHealthTold(one.returned);
    };
    rig.set(endpoint(1), endpoint(2));
    assert.equal(rig.dials.length, 0);
    assert.equal(rig.running.isWarm, false);
    take(report({ "192.0.2.1:80": 0, "192.0.2.2:80": healthFlag.failed }, true));
    assert.equal(rig.running.isWarm, true);
    assert.equal(rig.picks, "1");
    take(report({ "192.0.2.2:80": 0 }));
    assert.equal(rig.picks, "12");
    rig.set(endpoint(2), endpoint(3));
    assert.equal(rig.picks, "12", "one stays, and one is not known yet");
    rig.running.counters.onConnectionOpened();
    rig.running.counters.onConnectionOpened();
    assert.deepEqual(news, [{ kind: "traffic", cluster: "shop" }]);
    take(report({}, true));
    assert.deepEqual(rig.flags.slice(0, 2), [healthFlag.failed, healthFlag.failed]);
    rig.running.close();
  });
});
