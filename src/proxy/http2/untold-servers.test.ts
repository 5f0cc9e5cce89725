import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import type { DialOptions } from "../../net/dialler.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { defaultHeadLimits } from "../../wire/http1-head.ts";
import type { ProxyContext, UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import { AnswerHeads } from "../http/answer-heads.ts";
import { DeadlineWheel } from "../http/deadline-wheel.ts";
import type { PoolFailure, UpstreamExchange, UpstreamUser } from "../http/upstream-exchange.ts";
import { clusterSeries } from "../stats/envoy-series.ts";
import type { ClientConnection } from "./client-connection.ts";
import { ClientPool } from "./client-pool.ts";
import { compileHttp2Settings } from "./settings.ts";

const nothing = (): void => {};
const yes = (): boolean => true;
const settings = "\0\0\0\x04\0\0\0\0\0";
/** SETTINGS_ENABLE_CONNECT_PROTOCOL. */
const allowing = "\0\0\x06\x04\0\0\0\0\0\0\x08\0\0\0\x01";
/** SETTINGS_MAX_CONCURRENT_STREAMS of 0. */
const none = "\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\0";

class User implements UpstreamUser {
  readonly isHeadRequest = false;
  readonly isUpgradeRequest: boolean;
  exchange: UpstreamExchange | undefined;
  failure: PoolFailure | undefined;

  constructor(isUpgradeRequest = false) {
    this.isUpgradeRequest = isUpgradeRequest;
  }

  onAttached(exchange: UpstreamExchange): void {
    this.exchange = exchange;
  }
  onPoolFailure(failure: PoolFailure): void {
    this.failure = failure;
  }
  onInterim(): void {}
  onResponseHead(): void {}
  onUpgraded(): void {}
  onResponseData(): void {}
  onResponseEnd(): void {}
  onReleased(): void {}
  onResponseFlush(): void {}
  onUpstreamReset(): void {}
  onUpstreamDrain(): void {}
}

class Endpoint {
  readonly clock: FakeClock = new FakeClock();
  readonly dials: DialOptions[] = [];
  readonly channels: ScriptedChannel[] = [];
  readonly connections: ClientConnection[] = [];
  readonly pool: ClientPool;
  readonly #cluster: UpstreamCluster;

  constructor() {
    const endpoint: UpstreamEndpoint = {
      address: { address: "10.0.0.1", port: 80 },
      hostname: "",
      metadata: {},
      tls: undefined,
      active: 0,
      report: nothing,
    };
    const metrics = createMetricRegistry();
    const series = clusterSeries(metrics, "app");
    const context = { limits: defaultHeadLimits, resetsMalformed: false, drainMs: 0 };
    this.#cluster = {
      name: "app",
      statName: "app",
      connectTimeoutMs: 1000,
      metadata: undefined,
      maxRequestsPerConnection: 0,
      idleTimeoutMs: 0,
      pick: () => endpoint,
      limits: {
        tryConnection: yes,
        releaseConnection: nothing,
        tryPending: yes,
        releasePending: nothing,
        tryRequest: yes,
        releaseRequest: nothing,
        tryRetry: yes,
        releaseRetry: nothing,
      },
      counters: series.counters,
      http2: {
        when: "always",
        settings: compileHttp2Settings(undefined, context),
        counters: series.http2(),
      },
    };
    const plane: ProxyContext = {
      clock: this.clock,
      log: silentLog,
      metrics,
      random: () => 0,
      clusters: { get: () => this.#cluster },
      routes: { get: () => undefined },
      dialler: { dial: (dial) => this.#dial(dial) },
      sinkFor: () => ({ onEnd: nothing }),
    };
    this.pool = new ClientPool(endpoint, plane, {
      wheel: new DeadlineWheel(this.clock),
      heads: new AnswerHeads(metrics),
      offeredTo: () => ({}),
      onOpened: (connection) => void this.connections.push(connection),
      onClosed: nothing,
    });
  }

  #dial(dial: DialOptions): ScriptedChannel {
    const channel = new ScriptedChannel();
    channel.handler = dial.handler;
    this.dials.push(dial);
    this.channels.push(channel);
    return channel;
  }

  /** The connection dialled last stands. */
  connect(): ScriptedChannel {
    const channel = this.channels.at(-1) ?? assert.fail("nothing was dialled");
    this.dials.at(-1)?.onConnect(channel);
    return channel;
  }

  acquire(isUpgradeRequest = false): User {
    const user = new User(isUpgradeRequest);
    this.pool.acquire(user, this.#cluster);
    return user;
  }
}

test("ClientPool leaves a connection whose streams have no numbers any more", () => {
  const endpoint = new Endpoint();
  const first = endpoint.acquire();
  const channel = endpoint.connect();
  channel.send(settings);
  const [connection] = endpoint.connections;
  assert.ok(first.exchange !== undefined && connection !== undefined);
  connection.session.streams.lastId = 2 ** 30 + 1;
  const last = endpoint.acquire();
  assert.ok(last.exchange !== undefined);
  assert.equal(endpoint.dials.length, 1);
  const next = endpoint.acquire();
  assert.equal(next.exchange, undefined);
  assert.equal(endpoint.dials.length, 2);
  first.exchange.abandon();
  assert.equal(channel.isClosed, false);
  last.exchange.abandon();
  assert.equal(channel.isClosed, true);
  endpoint.connect();
  assert.ok(next.exchange !== undefined);
});

test("ClientPool keeps upgrades until the server has allowed them, and others not", () => {
  const endpoint = new Endpoint();
  const upgrade = endpoint.acquire(true);
  const channel = endpoint.connect();
  assert.equal(upgrade.exchange, undefined);
  const request = endpoint.acquire();
  assert.ok(request.exchange !== undefined);
  const another = endpoint.acquire(true);
  channel.send(allowing);
  assert.ok(upgrade.exchange !== undefined && another.exchange !== undefined);
  assert.equal(endpoint.dials.length, 1);
});

test("ClientPool refuses upgrades that a server does not allow", () => {
  const endpoint = new Endpoint();
  const upgrade = endpoint.acquire(true);
  endpoint.connect().send(settings);
  assert.equal(upgrade.failure, "no-upgrade");
  assert.equal(endpoint.acquire(true).failure, "no-upgrade");
  assert.ok(endpoint.acquire().exchange !== undefined);
});

test("ClientPool gives upgrades up where a server says nothing, or goes", () => {
  const silent = new Endpoint();
  const waiting = silent.acquire(true);
  silent.connect();
  silent.clock.advance(1100);
  assert.equal(waiting.failure, "connect-timeout");
  const gone = new Endpoint();
  const left = gone.acquire(true);
  gone.connect().close();
  assert.equal(left.failure, "connect-failure");
  assert.equal(gone.dials.length, 1);
});

test("ClientPool gives each upgrade up in time, and lets those behind it pass", () => {
  const endpoint = new Endpoint();
  const first = endpoint.acquire(true);
  const behind = endpoint.acquire();
  endpoint.connect();
  assert.equal(behind.exchange, undefined);
  endpoint.clock.advance(1100);
  assert.equal(first.failure, "connect-timeout");
  assert.ok(behind.exchange !== undefined);
  const second = endpoint.acquire(true);
  endpoint.clock.advance(1100);
  assert.equal(second.failure, "connect-timeout");
  assert.equal(endpoint.dials.length, 1);
});

test("ClientPool does not knock again and again where a server takes no streams", () => {
  const endpoint = new Endpoint();
  const upgrade = endpoint.acquire(true);
  endpoint.connect().send(none);
  assert.equal(upgrade.failure, "connect-failure");
  assert.equal(endpoint.dials.length, 1);
});

test("ClientPool keeps no idle connection whose server takes no streams", () => {
  const endpoint = new Endpoint();
  endpoint.acquire();
  const channel = endpoint.connect();
  channel.send(none);
  assert.equal(channel.isClosed, false, "while a stream goes on");
  // HEADERS: `:status` 200, and the end.
  channel.send("\0\0\x01\x01\x05\0\0\0\x01\x88");
  assert.equal(channel.isClosed, true);
  const upgrade = endpoint.acquire(true);
  const other = endpoint.connect();
  other.send(none);
  assert.equal(upgrade.failure, "connect-failure");
  assert.equal(other.isClosed, true);
  assert.equal(endpoint.dials.length, 2);
});
