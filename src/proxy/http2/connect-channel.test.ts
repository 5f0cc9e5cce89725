import assert from "node:assert/strict";
import { test } from "node:test";

import type { ChannelError, ChannelHandler } from "../../net/channel.ts";
import { Http1Head } from "../../wire/http1-head.ts";
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import type { PoolFailure, UpstreamExchange, UpstreamUser } from "../http/upstream-exchange.ts";
import { type ConnectChannel, openConnectChannel } from "./connect-channel.ts";
import { silentCounters } from "../../../test/support/silent-counters.ts";

const nothing = (): void => {};

/** A stream whose other end is the test. */
class FakeExchange implements UpstreamExchange {
  readonly head: Http1Head = new Http1Head();
  readonly answerTrailers = undefined;
  readonly isReused = false;
  readonly hasAnswered = false;
  readonly answeredMs = 0;
  readonly carrier = undefined;
  readonly queuedBytes = 0;
  sent = "";
  isAbandoned = false;
  isPaused = false;
  hasRoom = true;

  describe(): void {}
  handTo(): void {}

  sendHead(...[request, target]: Parameters<UpstreamExchange["sendHead"]>): void {
    const fields: string[] = [];
    request.headers.forEach((name, value) => fields.push(`${name}=${value}`));
    this.sent += `${request.method} ${target.authority}${target.path} ${fields.join()}|`;
  }

  sendBody(chunk: Buffer, from: number, to: number): boolean {
    this.sent += chunk.toString("latin1", from, to);
    return true;
  }

  sendEnd(): void {
    this.sent += "|end";
  }

  flush(): boolean {
    return this.hasRoom;
  }

  abandon(): void {
    this.isAbandoned = true;
  }

  pause(): void {
    this.isPaused = true;
  }

  resume(): void {
    this.isPaused = false;
  }
}

const endpoint: UpstreamEndpoint = {
  address: { address: "10.0.0.1", port: 15_008 },
  hostname: "",
  metadata: {},
  tls: undefined,
  active: 0,
  report: nothing,
};

const yes = (): boolean => true;
const cluster: UpstreamCluster = {
  name: "hbone",
  statName: "hbone",
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
  counters: silentCounters,
};

interface Opened {
  readonly channel: ConnectChannel;
  readonly exchange: FakeExchange;
  readonly answer: (status: number) => void;
  readonly told: string[];
  readonly user: UpstreamUser | undefined;
  readonly cancels: () => number;
}

function open(failure?: PoolFailure): Opened {
  const told: string[] = [];
  const users: UpstreamUser[] = [];
  let cancels = 0;
  const pool = {
    acquire: (user: UpstreamUser): void => {
      users.push(user);
      if (failure !== undefined) user.onPoolFailure(failure, undefined);
    },
    cancel: () => ++cancels > 0,
  };
  const handler: ChannelHandler = {
    onData: (chunk) => void told.push(chunk.toString("latin1")),
    onEnd: () => void told.push("end"),
    onDrain: () => void told.push("drain"),
    onClose: (error: ChannelError | undefined) => void told.push(`close ${error?.code}`),
  };
  const channel = openConnectChannel({
    upstreams: { wheel: { touch: () => 0 }, poolOf: () => pool },
    cluster,
    endpoint,
    request: { authority: "10.0.0.7:80", fields: [["baggage", "a=b"]] },
    handler,
    onConnect: () => void told.push("open"),
  });
  const exchange = new FakeExchange();
  const answer = (status: number): void => {
    users[0]?.onAttached(exchange);
    exchange.head.status = status;
    users[0]?.onResponseHead(exchange);
  };
  return { channel, exchange, answer, told, user: users[0], cancels: () => cancels };
}

test("openConnectChannel() asks, and carries bytes and ends both ways once it is let", () => {
  const { channel, exchange, answer, told, user } = open();
  assert.deepEqual(told, []);
  answer(200);
  assert.equal(channel.write(Buffer.from("hello")), true);
  user?.onResponseData(Buffer.from("xwelcomex"), 1, 8);
  user?.onResponseEnd();
  channel.write(Buffer.from(" still"));
  channel.end();
  channel.write(Buffer.from("too late"));
  user?.onReleased();
  assert.equal(exchange.sent, "CONNECT 10.0.0.7:80 baggage=a=b|hello still|end");
  assert.deepEqual(told, ["open", "welcome", "end", "close undefined"]);
});

test("openConnectChannel() says that it was refused, and why there is no connection, once and later", async () => {
  const refused = open();
  refused.answer(404);
  assert.deepEqual(refused.told, ["close tunnel-refused"]);
  assert.equal(refused.exchange.isAbandoned, true);
  for (const [failure, code] of [
    ["overflow", "tunnel-overflow"],
    ["no-pool", "tunnel-overflow"],
    ["connect-failure", "ECONNREFUSED"],
  ] as const) {
    const { told } = open(failure);
    assert.deepEqual(told, [], "not within the call");
    await Promise.resolve();
    assert.deepEqual(told, [`close ${code}`]);
  }
});

test("destroy() gives the stream up, or the wait for one, and is told of once", () => {
  const waiting = open();
  waiting.channel.destroy();
  waiting.channel.destroy();
  assert.deepEqual([waiting.cancels(), waiting.told], [1, ["close undefined"]]);
  const carrying = open();
  carrying.answer(200);
  carrying.channel.destroy();
  carrying.channel.write(Buffer.from("too late"));
  assert.equal(carrying.exchange.isAbandoned, true);
  assert.deepEqual(carrying.told, ["open", "close undefined"]);
});

test("a stream that breaks is a connection that broke; one that waits says so", () => {
  const { channel, exchange, answer, told, user } = open();
  answer(200);
  exchange.hasRoom = false;
  assert.equal(channel.write(Buffer.from("much")), false);
  channel.pause();
  assert.equal(exchange.isPaused, true);
  user?.onUpstreamDrain();
  channel.resume();
  user?.onUpstreamReset("remote", undefined);
  user?.onUpstreamDrain();
  assert.deepEqual(told, ["open", "drain", "close stream-reset"]);
});
