import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import { connect as connectTls } from "node:tls";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { freePort } from "../../test/support/free-port.ts";
import { FakeSecrets } from "../../test/support/secrets.ts";
import { silentCounters } from "../../test/support/silent-counters.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { makeTestAuthority } from "../../test/support/test-certificates.ts";
import { type Clock, systemClock } from "../base/clock.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import { createPortableDialler } from "../net/portable-dialler.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import type { RequestRecord } from "../telemetry/request-record.ts";
import { TrafficDirection } from "../wire/gen/ts/envoy/config/core/v3/base.ts";
import { Listener } from "../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { RBAC } from "../wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { TcpProxy } from "../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import { DownstreamTlsContext } from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { ListenerSet, ProxyContext, UpstreamCluster } from "./context.ts";
import type { PreparedListener } from "./preparation.ts";
import { createListenerSet } from "./listener.ts";

const prefix = "type.googleapis.com/envoy.extensions.";

interface Bench {
  readonly set: ListenerSet;
  readonly records: RequestRecord[];
  readonly metrics: ReturnType<typeof createMetricRegistry>;
  readonly secrets: FakeSecrets;
  readonly start: (listener: Listener) => Promise<number>;
  /** Resolves when that many connections have been reported. */
  readonly recorded: (count: number) => Promise<void>;
}

/** Closed after the test, also after one that failed: an open socket would keep the process. */
function bench(
  t: TestContext,
  endpoints: Readonly<Record<string, SocketAddress>>,
  clock: Clock = systemClock,
): Bench {
  const records: RequestRecord[] = [];
  const metrics = createMetricRegistry();
  const secrets = new FakeSecrets();
  let onRecord = (): void => {};
  const context: ProxyContext = {
    clock,
    log: silentLog,
    metrics,
    random: () => 0,
    clusters: {
      get: (name) => {
        const address = endpoints[name];
        return address === undefined ? undefined : clusterOf(name, address);
      },
    },
    routes: { get: () => undefined },
    dialler: createPortableDialler({ clock: systemClock, log: silentLog }),
    sinkFor: () => ({
      onEnd: (record) => {
        records.push(record);
        onRecord();
      },
    }),
  };
  const set = createListenerSet({ context, secrets });
  t.after(() => set.close());
  return {
    set,
    records,
    metrics,
    secrets,
    recorded(count) {
      return new Promise((resolve) => {
        onRecord = () => {
          if (records.length >= count) resolve();
        };
        onRecord();
      });
    },
    async start(listener) {
      const prepared = set.prepare(listener);
      await prepared.open();
      prepared.start();
      return set.bound().find(({ name }) => name === listener.name)?.address.port ?? 0;
    },
  };
}

function clusterOf(name: string, address: SocketAddress): UpstreamCluster {
  const nothing = (): void => {};
  return {
    name,
    statName: name,
    connectTimeoutMs: 1_000,
    metadata: undefined,
    maxRequestsPerConnection: 0,
    idleTimeoutMs: 0,
    pick: () => ({
      address,
      hostname: "",
      metadata: {},
      tls: undefined,
      active: 0,
      report: nothing,
    }),
    limits: {
      tryConnection: () => true,
      releaseConnection: nothing,
      tryPending: () => true,
      releasePending: nothing,
      tryRequest: () => true,
      releaseRequest: nothing,
      tryRetry: () => true,
      releaseRetry: nothing,
    },
    counters: silentCounters,
  };
}

function tcpFilter(cluster: string) {
  const value = TcpProxy.encode(TcpProxy.fromPartial({ statPrefix: cluster, cluster })).finish();
  const typeUrl = `${prefix}filters.network.tcp_proxy.v3.TcpProxy`;
  return { name: "tcp", typedConfig: { typeUrl, value } };
}

const anyPort = { socketAddress: { address: "127.0.0.1", portValue: 0 } };
const tlsInspector = {
  name: "tls_inspector",
  typedConfig: { typeUrl: `${prefix}filters.listener.tls_inspector.v3.TlsInspector` },
};
const proxyProtocol = {
  name: "proxy_protocol",
  typedConfig: { typeUrl: `${prefix}filters.listener.proxy_protocol.v3.ProxyProtocol` },
};

/** Answers a connection's bytes with a greeting in front, once the client has ended. */
async function startServer(t: TestContext, greeting: string): Promise<SocketAddress> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const chunks: Buffer[] = [];
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("end", () => socket.end(`${greeting}:${Buffer.concat(chunks).toString()}`));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  return { address: "127.0.0.1", port };
}

function exchange(socket: Socket, text: string): Promise<string> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = [];
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.on("close", () => resolve(Buffer.concat(chunks).toString()));
    socket.end(text);
  });
}

const half = { allowHalfOpen: true, host: "127.0.0.1" };

test("a listener carries TCP to its cluster and reports bytes once", async (t) => {
  const address = await startServer(t, "one");
  const { start, records, recorded } = bench(t, { one: address });
  const port = await start(
    Listener.fromPartial({
      name: "l",
      address: anyPort,
      filterChains: [{ filters: [tcpFilter("one")] }],
    }),
  );
  assert.equal(await exchange(connect({ port, ...half }), "hello"), "one:hello");
  await recorded(1);
  assert.equal(records.length, 1);
  assert.equal(records[0]?.bytesReceived, 5);
  assert.equal(records[0]?.bytesSent, 9);
  assert.equal(records[0]?.responseFlags, "");
});

test("a listener closes and flags connections without cluster or endpoint", async (t) => {
  // Not a port that was free a moment ago: somebody else might listen there by now.
  const address = { address: "127.0.0.1", port: 1 };
  const { start, records, recorded } = bench(t, { gone: address });
  let count = 0;
  const check = async (cluster: string, flag: string): Promise<void> => {
    const filterChains = [{ filters: [tcpFilter(cluster)] }];
    const port = await start(
      Listener.fromPartial({ name: cluster, address: anyPort, filterChains }),
    );
    assert.equal(await exchange(connect({ port, ...half }), "x"), "");
    await recorded(++count);
    assert.equal(records.at(-1)?.responseFlags, flag);
  };
  await check("none", "NC");
  await check("gone", "UF,URX");
  assert.match(records.at(-1)?.upstreamTransportFailureReason ?? "", /ECONNREFUSED/);
});

test("a new version serves new connections on the same socket; a broken one changes nothing", async (t) => {
  const one = await startServer(t, "one");
  const two = await startServer(t, "two");
  const { set, start } = bench(t, { one, two });
  const version = (cluster: string): Listener =>
    Listener.fromPartial({
      name: "l",
      address: anyPort,
      filterChains: [{ filters: [tcpFilter(cluster)] }],
    });
  const port = await start(version("one"));
  const old = connect({ port, ...half });
  await new Promise((resolve) => old.once("connect", resolve));
  assert.equal(await start(version("two")), port);
  assert.equal(await exchange(connect({ port, ...half }), "b"), "two:b");
  assert.throws(() => set.prepare(Listener.fromPartial({ name: "l", filterChains: [{}] })));
  assert.equal(await exchange(connect({ port, ...half }), "c"), "two:c");
  old.destroy();
});

test("a listener whose address is taken says so before it starts; what serves goes on", async (t) => {
  const one = await startServer(t, "one");
  const { set, start } = bench(t, { one });
  const filterChains = [{ filters: [tcpFilter("one")] }];
  const port = await start(Listener.fromPartial({ name: "l", address: anyPort, filterChains }));
  const address = { socketAddress: { address: one.address, portValue: one.port } };
  const prepared = set.prepare(Listener.fromPartial({ name: "l", address, filterChains }));
  await assert.rejects(async () => prepared.open(), {
    message: `cannot listen on 127.0.0.1:${one.port}: another process uses the port (EADDRINUSE)`,
  });
  prepared.discard();
  const none = { socketAddress: { address: one.address, portValue: 65_536 } };
  assert.throws(
    () => set.prepare(Listener.fromPartial({ name: "l", address: none, filterChains })),
    {
      message: "address.socket_address.port_value: is no port",
    },
  );
  assert.equal(await exchange(connect({ port, ...half }), "a"), "one:a");
});

test("connections that come before a listener serves wait for it, or go with it", async (t) => {
  const one = await startServer(t, "one");
  const { set } = bench(t, { one });
  const portValue = await freePort();
  const address = { socketAddress: { address: "127.0.0.1", portValue } };
  const filterChains = [{ filters: [tcpFilter("one")] }];
  const prepare = (): PreparedListener =>
    set.prepare(Listener.fromPartial({ name: "l", address, filterChains }));
  const first = prepare();
  await first.open();
  const dropped = exchange(connect({ port: portValue, ...half }), "early");
  await connected(portValue);
  first.discard();
  assert.equal(await dropped, "");
  const second = prepare();
  await second.open();
  const kept = exchange(connect({ port: portValue, ...half }), "early");
  await connected(portValue);
  second.start();
  assert.equal(await kept, "one:early");
});

/** Whoever came before has been accepted when this one has. */
async function connected(port: number): Promise<void> {
  const socket = connect({ port, ...half });
  socket.on("error", () => {});
  await once(socket, "connect");
  await new Promise((resolve) => setImmediate(resolve));
  socket.destroy();
}

test("a new version cuts off connections of the chains that changed, and of no other", async (t) => {
  const one = await startServer(t, "one");
  const two = await startServer(t, "two");
  const clock = new FakeClock();
  const { start, records, recorded, metrics } = bench(t, { one, two }, clock);
  const from = (address: string) => ({
    directSourcePrefixRanges: [{ addressPrefix: address, prefixLen: 32 }],
  });
  const version = (cluster: string): Listener =>
    Listener.fromPartial({
      name: "l",
      address: anyPort,
      filterChains: [
        { filterChainMatch: from("127.0.0.2"), filters: [tcpFilter("one")] },
        { filterChainMatch: from("127.0.0.3"), filters: [tcpFilter(cluster)] },
      ],
    });
  const port = await start(version("one"));
  const open = async (localAddress: string): Promise<Socket> => {
    const socket = connect({ port, localAddress, ...half });
    t.after(() => socket.destroy());
    socket.on("error", () => {});
    await new Promise((resolve) => socket.once("connect", resolve));
    return socket;
  };
  const [kept, changed] = [await open("127.0.0.2"), await open("127.0.0.3")];
  const gone = new Promise((resolve) => changed.once("close", resolve));
  // Connected is not yet accepted.
  while (!/downstream_cx_active\{[^}]*\} 2\n/.test(metrics.expose())) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  await start(version("two"));
  clock.advance(44_000);
  assert.equal(records.length, 0, "there is time to end");
  clock.advance(2_000);
  changed.resume();
  await recorded(1);
  changed.end();
  await gone;
  assert.equal(await exchange(kept, "still here"), "one:still here");
});

test("a listener tells TLS from plaintext and verifies clients (permissive, then strict)", async (t) => {
  const authority = await makeTestAuthority();
  const tls = await startServer(t, "tls");
  const raw = await startServer(t, "raw");
  const { start, secrets, records, recorded, metrics } = bench(t, {
    tls,
    raw,
  });
  const own = await authority.issue({ uris: ["spiffe://cluster.local/ns/default/sa/catalog"] });
  const client = await authority.issue({ uris: ["spiffe://cluster.local/ns/default/sa/cart"] });
  secrets.set("default", { kind: "certificate", ...own });
  secrets.set("ROOTCA", { kind: "validation", trustedCaPem: authority.rootPem });
  const value = DownstreamTlsContext.encode(
    DownstreamTlsContext.fromPartial({
      requireClientCertificate: true,
      commonTlsContext: {
        alpnProtocols: ["istio"],
        tlsCertificateSdsSecretConfigs: [{ name: "default" }],
        validationContextSdsSecretConfig: { name: "ROOTCA" },
      },
    }),
  ).finish();
  const typeUrl = `${prefix}transport_sockets.tls.v3.DownstreamTlsContext`;
  const secured = {
    filterChainMatch: { transportProtocol: "tls", applicationProtocols: ["istio"] },
    filters: [tcpFilter("tls")],
    transportSocket: { name: "tls", typedConfig: { typeUrl, value } },
  };
  const plain = {
    filterChainMatch: { transportProtocol: "raw_buffer" },
    filters: [tcpFilter("raw")],
  };
  const config = { name: "l", address: anyPort, listenerFilters: [tlsInspector] };
  const port = await start(Listener.fromPartial({ ...config, filterChains: [secured, plain] }));
  const dialTls = () =>
    connectTls({
      ...half,
      port,
      cert: client.chainPem,
      key: client.privateKeyPem,
      ca: authority.rootPem,
      ALPNProtocols: ["istio"],
      checkServerIdentity: () => undefined,
    });
  assert.equal(await exchange(dialTls(), "secret"), "tls:secret");
  await recorded(1);
  assert.deepEqual(records.at(-1)?.downstreamPeerUriSans, [
    "spiffe://cluster.local/ns/default/sa/cart",
  ]);
  assert.equal(await exchange(connect({ port, ...half }), "open text"), "raw:open text");
  await recorded(2);
  const accessLog = [{ name: "all" }];
  await start(Listener.fromPartial({ ...config, accessLog, filterChains: [secured] }));
  const before = records.length;
  assert.equal(await exchange(connect({ port, ...half }), "open text"), "");
  await recorded(before + 1);
  assert.equal(records.at(-1)?.responseFlags, "NR");
  assert.equal(records.at(-1)?.responseCodeDetails, "filter_chain_not_found");
  const text = metrics.expose();
  assert.match(text, /envoy_listener_no_filter_chain_match\{[^}]*\} 1/);
  assert.match(text, /envoy_listener_ssl_handshake\{[^}]*\} 1/);
});

test(
  "a listener that waits for ever for the first bytes waits 15 s for what has begun",
  { timeout: 10_000 },
  async (t) => {
    const raw = await startServer(t, "raw");
    const clock = new FakeClock();
    const { start, metrics } = bench(t, { raw }, clock);
    const port = await start(
      Listener.fromPartial({
        name: "l",
        address: anyPort,
        listenerFilters: [tlsInspector],
        listenerFiltersTimeout: { seconds: 0, nanos: 0 },
        continueOnListenerFiltersTimeout: true,
        filterChains: [{ filters: [tcpFilter("raw")] }],
      }),
    );
    const silent = connect({ port, ...half });
    await once(silent, "connect");
    const begun = connect(port, "127.0.0.1");
    let isClosed = false;
    begun.on("error", () => {}).on("close", () => (isClosed = true));
    begun.resume().write(Buffer.from([22, 3, 1, 2, 0, 1]));
    while (!isClosed) {
      clock.advance(15_000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(await exchange(silent, "hello"), "raw:hello");
    assert.match(metrics.expose(), /pre_cx_timeout\{[^}]*\} 1\n/);
  },
);

test(
  "a listener that goes on without first bytes takes half a ClientHello for nothing else",
  { timeout: 10_000 },
  async (t) => {
    const clock = new FakeClock();
    const { start, metrics } = bench(t, { raw: await startServer(t, "raw") }, clock);
    const port = await start(
      Listener.fromPartial({
        name: "l",
        address: anyPort,
        listenerFilters: [tlsInspector],
        listenerFiltersTimeout: { seconds: 5, nanos: 0 },
        continueOnListenerFiltersTimeout: true,
        filterChains: [{ filters: [tcpFilter("raw")] }],
      }),
    );
    const begun = connect(port, "127.0.0.1");
    let [isClosed, words] = [false, ""];
    begun.on("error", () => {}).on("close", () => (isClosed = true));
    begun.on("data", (chunk) => (words += String(chunk)));
    await new Promise((resolve) => begun.write(Buffer.from([22, 3, 1, 2, 0, 1]), resolve));
    // On loopback what was written is there; it is read in one of the next turns.
    for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    while (!isClosed) {
      clock.advance(5000);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(words, "");
    assert.match(metrics.expose(), /pre_cx_timeout\{[^}]*\} 2\n/);
  },
);

test(
  "a listener waits once for a server that speaks first, and not at all when it knows",
  { timeout: 10_000 },
  async (t) => {
    const greeter = createServer((socket) => socket.on("error", () => {}).end("220 ready"));
    await new Promise<void>((resolve) => greeter.listen(0, "127.0.0.1", resolve));
    t.after(() => greeter.close());
    const { port: at } = greeter.address() as AddressInfo;
    const clock = new FakeClock();
    const { start, metrics } = bench(t, { one: { address: "127.0.0.1", port: at } }, clock);
    const port = await start(
      Listener.fromPartial({
        name: "l",
        address: anyPort,
        trafficDirection: TrafficDirection.OUTBOUND,
        listenerFilters: [tlsInspector],
        listenerFiltersTimeout: { seconds: 1, nanos: 0 },
        continueOnListenerFiltersTimeout: true,
        filterChains: [{ filters: [tcpFilter("one")] }],
      }),
    );
    const read = (): Promise<string> => {
      const socket = connect({ port, ...half });
      return new Promise((resolve) => {
        let text = "";
        socket.on("error", () => {}).on("data", (chunk) => (text += String(chunk)));
        socket.on("end", () => resolve(text));
      });
    };
    let first: string | undefined;
    void read().then((text) => (first = text));
    while (first === undefined) {
      clock.advance(500);
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.equal(first, "220 ready");
    // Nobody turns the clock any more.
    assert.equal(await read(), "220 ready");
    assert.equal(await read(), "220 ready");
    const text = metrics.expose();
    assert.match(text, /heddle_detection_total\{decided_by="bound",protocol="tcp"\} 1\n/);
    assert.match(text, /heddle_detection_total\{decided_by="memory",protocol="tcp"\} 2\n/);
  },
);

test("a listener takes addresses from the PROXY protocol and refuses connections without", async (t) => {
  const address = await startServer(t, "one");
  const { start, records, recorded } = bench(t, { one: address });
  const port = await start(
    Listener.fromPartial({
      name: "l",
      address: anyPort,
      listenerFilters: [proxyProtocol],
      filterChains: [{ filters: [tcpFilter("one")] }],
    }),
  );
  const header = "PROXY TCP4 203.0.113.7 198.18.0.9 40000 443\r\n";
  assert.equal(await exchange(connect({ port, ...half }), `${header}hi`), "one:hi");
  await recorded(1);
  assert.deepEqual(records[0]?.downstreamRemoteAddress, { address: "203.0.113.7", port: 40_000 });
  assert.equal(await exchange(connect({ port, ...half }), "no header"), "");
  for (const malformed of [
    "PROXY TCP4 nobody\r\n",
    "PROXY TCP4 203.0.113.7 198.18.0.9 4 70000\r\n",
  ]) {
    assert.equal(await exchange(connect({ port, ...half }), `${malformed}hi`), "", malformed);
  }
  assert.equal(records.length, 1);
});

test("a listener believes a PROXY header only from whom its chain names, whatever the header says", async (t) => {
  const address = await startServer(t, "one");
  const { start } = bench(t, { one: address });
  const startFor = async (trusted: string): Promise<number> => {
    const filterChainMatch = {
      directSourcePrefixRanges: [{ addressPrefix: trusted, prefixLen: 32 }],
    };
    return await start(
      Listener.fromPartial({
        name: `from ${trusted}`,
        address: anyPort,
        listenerFilters: [proxyProtocol],
        filterChains: [{ filterChainMatch, filters: [tcpFilter("one")] }],
      }),
    );
  };
  const header = "PROXY TCP4 192.0.2.1 198.18.0.9 40000 443\r\n";
  const believed = await startFor("127.0.0.1");
  assert.equal(await exchange(connect({ port: believed, ...half }), `${header}hi`), "one:hi");
  const refused = await startFor("192.0.2.1");
  assert.equal(await exchange(connect({ port: refused, ...half }), `${header}hi`), "");
});

test("network RBAC closes what no policy allows and names the denial", async (t) => {
  const address = await startServer(t, "one");
  const { start, records, recorded } = bench(t, { one: address });
  const config = RBAC.fromPartial({ statPrefix: "tcp.", rules: { action: 0, policies: {} } });
  const typeUrl = `${prefix}filters.network.rbac.v3.RBAC`;
  const rbac = { name: "rbac", typedConfig: { typeUrl, value: RBAC.encode(config).finish() } };
  const filterChains = [{ filters: [rbac, tcpFilter("one")] }];
  const port = await start(Listener.fromPartial({ name: "l", address: anyPort, filterChains }));
  assert.equal(await exchange(connect({ port, ...half }), "x"), "");
  await recorded(1);
  assert.equal(records[0]?.connectionTerminationDetails, "rbac_access_denied_matched_policy[none]");
});
