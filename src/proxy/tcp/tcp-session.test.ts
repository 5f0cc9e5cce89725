import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { connectionView } from "../../../test/support/request-view.ts";
import { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import { silentCounters } from "../../../test/support/silent-counters.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import type { DialOptions } from "../../net/dialler.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import type {
  EndpointChoice,
  ProxyContext,
  UpstreamCluster,
  UpstreamEndpoint,
} from "../context.ts";
import type { ConnectRequest } from "../http2/connect-channel.ts";
import { createTcpCounters } from "./tcp-counters.ts";
import { TcpSession, type TcpSettings } from "./tcp-session.ts";

const nothing = (): void => {};

interface Tunnelled {
  readonly clock: FakeClock;
  readonly client: ScriptedChannel;
  /** Dialled, in order; each is connected already. */
  readonly upstreams: readonly ScriptedChannel[];
  /** Flags and reason of each log entry. */
  readonly log: readonly string[];
  readonly connections: () => number;
  /** What the session has said when it chose its endpoint. */
  readonly isAlone: boolean | undefined;
}

function start(more: Partial<TcpSettings> = {}, first = "first"): Tunnelled {
  const clock = new FakeClock();
  const upstreams: ScriptedChannel[] = [];
  const log: string[] = [];
  let connections = 0;
  let isAlone: boolean | undefined;
  const endpoint: UpstreamEndpoint = {
    address: { address: "10.0.0.1", port: 80 },
    hostname: "",
    metadata: {},
    tls: undefined,
    active: 0,
    report: nothing,
  };
  const limits = {
    tryConnection: () => ++connections > 0,
    releaseConnection: () => void connections--,
    tryPending: () => false,
  };
  // A session asks no more of a cluster.
  const cluster = {
    name: "app",
    connectTimeoutMs: 1000,
    metadata: undefined,
    pick: ({ client }: EndpointChoice) => {
      isAlone = client?.isAlone;
      return endpoint;
    },
    limits,
    counters: silentCounters,
  } as unknown as UpstreamCluster;
  const context: ProxyContext = {
    clock,
    log: silentLog,
    metrics: createMetricRegistry(),
    random: () => 0,
    clusters: { get: () => cluster },
    routes: { get: () => undefined },
    dialler: {
      dial(options: DialOptions) {
        const channel = new ScriptedChannel();
        channel.handler = options.handler;
        upstreams.push(channel);
        queueMicrotask(() => options.onConnect(channel));
        return channel;
      },
    },
    sinkFor: () => ({ onEnd: nothing }),
  };
  const settings: TcpSettings = {
    direction: "outbound",
    counters: createTcpCounters(context.metrics, "tcp"),
    chooseCluster: () => "app",
    idleTimeoutMs: 10_000,
    durationMsMax: 0,
    attemptsMax: 1,
    hashes: false,
    sink: {
      onEnd: (record) =>
        void log.push(`${record.responseFlags} ${record.upstreamTransportFailureReason}`),
    },
    tunnel: { isPosted: false, ask: () => ({ authority: "a:1", fields: [] }) },
    early: { waitsForData: false, bytesMax: undefined },
    ...more,
  };
  const client = new ScriptedChannel();
  new TcpSession(context, settings, { channel: client, connection: connectionView() }).start(
    Buffer.from(first),
  );
  return { clock, client, upstreams, log, isAlone, connections: () => connections };
}

test("TcpSession sends nothing of the client's before the tunnel stands, then everything", async () => {
  const { client, upstreams, log, connections } = start();
  await Promise.resolve();
  const [upstream] = upstreams;
  assert.equal(upstream?.take(), "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n");
  client.send("second");
  assert.equal(upstream.take(), "");
  upstream.send("HTTP/1.1 200 OK\r\n\r\nhello");
  assert.equal(upstream.take(), "firstsecond");
  assert.equal(client.take(), "hello");
  upstream.send(" again");
  client.send("third");
  assert.equal(client.take(), " again");
  assert.equal(upstream.take(), "third");
  client.close();
  upstream.close();
  assert.deepEqual(log, [" "]);
  assert.equal(connections(), 0);
});

test("TcpSession tries again where a tunnel is refused, and says why when no try is left", async () => {
  const { client, upstreams, log, connections } = start({ attemptsMax: 2 });
  await Promise.resolve();
  upstreams[0]?.send("HTTP/1.1 403 Forbidden\r\n\r\n");
  await Promise.resolve();
  assert.equal(upstreams.length, 2);
  assert.equal(upstreams[1]?.take(), "CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n");
  upstreams[1]?.send("HTTP/1.1 502 Bad Gateway\r\n\r\n");
  assert.ok(client.isClosed);
  assert.deepEqual(log, ["UF,URX no tunnel: the answer is 502"]);
  assert.equal(connections(), 0);
});

test("TcpSession tells of its progress every five seconds, also where nothing has come since", async () => {
  const told: number[] = [];
  const onProgress: TcpSettings["sink"]["onProgress"] = ({ bytesReceived }) =>
    void told.push(bytesReceived);
  const { clock } = start({
    idleTimeoutMs: 0,
    tunnel: undefined,
    sink: { onEnd: nothing, onProgress },
  });
  await Promise.resolve();
  clock.advance(5_000);
  clock.advance(5_000);
  assert.deepEqual(told, [5, 5]);
});

test("TcpSession gives a tunnel up that is never answered, and one whose proxy leaves", async () => {
  const silent = start();
  await Promise.resolve();
  silent.clock.advance(9_000);
  assert.ok(!silent.client.isClosed);
  silent.clock.advance(2_000);
  assert.ok(silent.client.isClosed);
  assert.equal(silent.upstreams[0]?.isClosed, true);
  assert.equal(silent.log.length, 1);
  assert.equal(silent.connections(), 0);

  const left = start();
  await Promise.resolve();
  left.upstreams[0]?.sendEnd();
  assert.ok(left.client.isClosed);
  assert.equal(left.log.length, 1);
  assert.equal(left.connections(), 0);
});

test("TcpSession leaves nothing behind when the client goes before the tunnel stands", async () => {
  const { client, upstreams, log, connections } = start();
  await Promise.resolve();
  client.close();
  assert.equal(upstreams[0]?.isClosed, true);
  assert.equal(log.length, 1);
  assert.equal(connections(), 0);
});

test("TcpSession says that its connection is nobody else's, unless it is a stream beside others", () => {
  const ask = (): ConnectRequest => ({ authority: "a:1", path: "/", fields: [] });
  assert.equal(start({ tunnel: undefined }).isAlone, true);
  assert.equal(start().isAlone, true, "CONNECT over HTTP/1.1");
  assert.equal(start({ tunnel: { isPosted: true, ask } }).isAlone, false);
});

test("TcpSession reads a bounded part of what the client says before it is connected", async () => {
  const early = { waitsForData: false, bytesMax: 10 };
  const { client, upstreams } = start({ tunnel: undefined, early });
  client.send("four");
  assert.equal(client.isPaused, false);
  client.send("!");
  assert.equal(client.isPaused, true);
  await Promise.resolve();
  assert.equal(upstreams[0]?.take(), "firstfour!");
  assert.equal(client.isPaused, false);
});

test("TcpSession connects when something has come, where it shall wait for that", async () => {
  const early = { waitsForData: true, bytesMax: 0 };
  const { client, upstreams, log } = start({ tunnel: undefined, early }, "");
  assert.deepEqual([upstreams.length, client.isPaused], [0, false]);
  client.send("hello");
  assert.deepEqual([upstreams.length, client.isPaused], [1, true]);
  await Promise.resolve();
  assert.equal(upstreams[0]?.take(), "hello");

  const silent = start({ tunnel: undefined, early }, "");
  silent.clock.advance(11_000);
  assert.ok(silent.client.isClosed);
  assert.equal(silent.upstreams.length, 0);
  assert.deepEqual([log.length, silent.log.length], [0, 1]);
});
