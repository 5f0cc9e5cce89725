import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { silentCounters } from "../../../test/support/silent-counters.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import type { UpstreamCluster, UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import { createUdpCounters } from "./udp-counters.ts";
import { UdpSessions, type UdpServices, type UdpSettings } from "./udp-sessions.ts";

class Peer {
  readonly to: SocketAddress;
  readonly sent: string[] = [];
  isClosed = false;
  readonly answer: (text: string) => void;
  readonly fail: (code: string) => void;

  constructor(options: Parameters<UdpServices["openPeer"]>[0]) {
    this.to = options.to;
    this.answer = (text) => options.onDatagram(Buffer.from(text));
    this.fail = options.onError;
  }

  send(bytes: Uint8Array): boolean {
    this.sent.push(Buffer.from(bytes).toString());
    return true;
  }

  close(): void {
    this.isClosed = true;
  }
}

function start(more: Partial<UdpSettings> = {}, limit = Infinity) {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const peers: Peer[] = [];
  const log: string[] = [];
  const answers: string[] = [];
  const outcomes: UpstreamOutcome[] = [];
  const unwell = new Set<UpstreamEndpoint>();
  let open = 0;
  let next = 0;
  const endpoints: UpstreamEndpoint[] = [1, 2].map((host) => ({
    address: { address: `10.0.0.${host}`, port: 53 },
    hostname: "",
    metadata: {},
    tls: undefined,
    active: 0,
    report: (outcome: UpstreamOutcome) => void outcomes.push(outcome),
  }));
  // Sessions ask no more of a cluster.
  const cluster = {
    name: "dns",
    metadata: undefined,
    pick: () => endpoints[next++ % endpoints.length],
    isWell: (endpoint: UpstreamEndpoint) => !unwell.has(endpoint),
    limits: {
      tryConnection: () => (open < limit ? ++open > 0 : false),
      releaseConnection: () => void open--,
    },
    counters: silentCounters,
  } as unknown as UpstreamCluster;
  const services: UdpServices = {
    clock,
    log: silentLog,
    clusters: { get: (name) => (name === "dns" ? cluster : undefined) },
    counters: createUdpCounters(metrics, "udp"),
    overload: undefined,
    openPeer: (options) => {
      const peer = new Peer(options);
      peers.push(peer);
      return peer;
    },
  };
  const settings: UdpSettings = {
    cluster: "dns",
    idleTimeoutMs: 10_000,
    hashes: false,
    direction: "outbound",
    sink: {
      onDatagrams: (record) => void log.push(`+${record.bytesReceived}/${record.bytesSent}`),
      onEnd: (record) =>
        void log.push(`end ${record.bytesReceived}/${record.bytesSent} ${record.responseFlags}`),
    },
    ...more,
  };
  const sessions = new UdpSessions(services, settings, { address: "198.19.0.5", port: 53 });
  sessions.use({
    send: (bytes, { port }) => answers.push(`${port} ${Buffer.from(bytes).toString()}`) > 0,
  });
  const say = (port: number, text: string): void =>
    sessions.receive(Buffer.from(text), { address: "198.18.0.9", port });
  const open_ = (): number => open;
  const count = (name: string): number =>
    metrics.counter(`envoy_udp_downstream_sess_${name}`, "", { udp_prefix: "udp" }).value;
  return {
    clock,
    peers,
    log,
    answers,
    outcomes,
    endpoints,
    unwell,
    sessions,
    settings,
    say,
    open: open_,
    count,
  };
}

test("UdpSessions keeps a client at its endpoint, and its datagrams in order", () => {
  const { say, peers, answers, endpoints } = start();
  say(1, "a");
  say(2, "b");
  say(1, "c");
  assert.deepEqual(
    peers.map(({ to, sent }) => [to.address, sent]),
    [
      ["10.0.0.1", ["a", "c"]],
      ["10.0.0.2", ["b"]],
    ],
  );
  peers[1]?.answer("B");
  peers[0]?.answer("A");
  assert.deepEqual(answers, ["2 B", "1 A"]);
  assert.deepEqual(
    endpoints.map(({ active }) => active),
    [1, 1],
  );
});

test("UdpSessions end when they are idle, not before, and tell what they carried", () => {
  const { say, peers, clock, log, sessions, open, endpoints } = start();
  say(1, "four");
  clock.advance(8_000);
  peers[0]?.answer("seven..");
  clock.advance(8_000);
  assert.equal(sessions.size, 1);
  clock.advance(4_000);
  assert.equal(sessions.size, 0);
  assert.equal(peers[0]?.isClosed, true);
  // Growth, told now and then, adds up to the total.
  assert.deepEqual(log, ["+4/0", "+0/7", "end 4/7 "]);
  assert.deepEqual([open(), endpoints[0]?.active], [0, 0]);
  say(1, "again");
  assert.equal(peers.length, 2);
});

test("UdpSessions leave an endpoint that the kernel says is not there", () => {
  const { say, peers, log, outcomes, open } = start();
  say(1, "a");
  peers[0]?.fail("ECONNREFUSED");
  peers[0]?.fail("ECONNREFUSED");
  assert.deepEqual(outcomes, [{ kind: "connect-failure" }]);
  say(1, "b");
  assert.deepEqual(
    peers.map(({ to, sent }) => [to.address, sent]),
    [
      ["10.0.0.1", ["a"]],
      ["10.0.0.2", ["b"]],
    ],
  );
  assert.deepEqual(log, ["+1/0", "end 1/0 UF"]);
  assert.equal(open(), 1);
});

test("UdpSessions do not blame an endpoint for a datagram that is too long for the way", () => {
  const { say, peers, log, outcomes, sessions } = start();
  say(1, "much");
  for (const code of ["EMSGSIZE", "ENOBUFS"]) peers[0]?.fail(code);
  say(1, "less");
  assert.deepEqual([outcomes, log, sessions.size], [[], [], 1]);
  assert.deepEqual(peers[0]?.sent, ["much", "less"]);
});

test("UdpSessions tells the balancer once that an endpoint answers", () => {
  const { say, peers, outcomes } = start();
  say(1, "a");
  peers[0]?.answer("b");
  peers[0]?.answer("c");
  assert.deepEqual(
    outcomes.map(({ kind }) => kind),
    ["response"],
  );
});

test("UdpSessions go to another endpoint when theirs is removed", () => {
  const { say, peers, endpoints } = start();
  say(1, "a");
  Object.assign(endpoints[0] ?? {}, { isRemoved: true });
  say(1, "b");
  assert.deepEqual(
    peers.map(({ sent }) => sent),
    [["a"], ["b"]],
  );
});

test("UdpSessions leave an endpoint that is not well for one that is, if there is one", () => {
  const { say, peers, endpoints, unwell, open } = start();
  const [first, second] = endpoints;
  assert.ok(first !== undefined && second !== undefined);
  say(1, "a");
  unwell.add(first).add(second);
  say(1, "b");
  say(1, "c");
  unwell.delete(second);
  say(1, "d");
  say(1, "e");
  say(1, "f");
  assert.deepEqual(
    peers.map(({ to, sent, isClosed }) => [to.address, sent, isClosed]),
    [
      ["10.0.0.1", ["a", "b", "c"], true],
      ["10.0.0.2", ["d", "e", "f"], false],
    ],
  );
  assert.equal(open(), 1);
});

test("UdpSessions is bounded by its table and by the cluster's limit; both are counted", () => {
  const { say, sessions, count } = start();
  for (let port = 1; port <= 16_500; port++) say(port, "a");
  assert.equal(sessions.size, 16_384);
  assert.equal(count("overflow"), 116);
  say(1, "still served");
  assert.equal(count("overflow"), 116);
  const limited = start({}, 2);
  for (let port = 1; port <= 5; port++) limited.say(port, "a");
  assert.deepEqual([limited.sessions.size, limited.count("overflow")], [2, 3]);
});

test("UdpSessions without a cluster loses datagrams, and says so", () => {
  const { say, sessions, count, log } = start({ cluster: "gone" });
  say(1, "a");
  assert.deepEqual([sessions.size, count("no_route"), log], [0, 1, ["end 0/0 NC"]]);
});

test("UdpSessions of another cluster begin anew; the same cluster's go on", () => {
  const { say, sessions, settings, open } = start();
  say(1, "a");
  sessions.follow({ ...settings, idleTimeoutMs: 1 });
  assert.equal(sessions.size, 1);
  sessions.follow({ ...settings, cluster: "gone" });
  assert.deepEqual([sessions.size, open()], [0, 0]);
});
