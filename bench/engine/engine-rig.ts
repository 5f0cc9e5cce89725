/**
 * A data plane as `heddle proxy` builds it from a bootstrap file, between connections in memory:
 * every filter, logger and counter is the real one, no system call is made. Log lines are gathered
 * and formatted as for a file, then dropped.
 */
import v8 from "node:v8";

import { load } from "js-yaml";

import { systemClock } from "../../src/base/clock.ts";
import { systemResolver } from "../../src/net/resolver.ts";
import { createClientTls, createTlsCounters } from "../../src/net/tls-contexts.ts";
import { parseBootstrap } from "../../src/proxy/bootstrap.ts";
import { ClusterPool } from "../../src/proxy/cluster.ts";
import { Configuration } from "../../src/proxy/config.ts";
import type { ProxyContext } from "../../src/proxy/context.ts";
import { closeUpstreams } from "../../src/proxy/http.ts";
import { createListenerSet } from "../../src/proxy/listener.ts";
import { createSinkCompiler } from "../../src/proxy/stats.ts";
import { type AppendLines, BatchWriter } from "../../src/telemetry/batch-writer.ts";
import { createLog } from "../../src/telemetry/log.ts";
import {
  createMetricRegistry,
  type OwnedMetricRegistry,
} from "../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../src/telemetry/standard-metrics.ts";
import { Http1Client, Http2Client, type RigClient } from "./clients.ts";
import { MemoryIo } from "./memory-io.ts";

const closing = Buffer.from("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
const answer = Buffer.from(
  "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 21:07:55 GMT\r\n" +
    "Content-Type: text/plain\r\nContent-Length: 65\r\nConnection: keep-alive\r\n\r\n" +
    `${"0123456789012345678901234567890123456789012345678901234567890123"}\n`,
);

export class EngineRig {
  readonly metrics: OwnedMetricRegistry = createMetricRegistry();
  #lastLines = "";
  readonly #io = new MemoryIo();
  readonly #close: () => void;
  readonly #ready: Promise<void>;
  readonly #clients: RigClient[] = [];
  readonly #connections: number;
  /** At once on each connection, over HTTP/2; 0 is HTTP/1.1. */
  readonly #streams: number;

  /** `text` is a bootstrap file in YAML, with one listener in plaintext. */
  constructor(text: string, connections = 32, streams = 0) {
    // As a proxy does before it compiles a pattern.
    v8.setFlagsFromString("--enable-experimental-regexp-engine");
    v8.setFlagsFromString("--enable-experimental-regexp-engine-on-excessive-backtracks");
    this.#connections = connections;
    this.#streams = streams;
    const { feed, secrets } = parseBootstrap({
      name: "rig",
      text,
      parseYaml: (yaml) => load(yaml),
      readFile: (path) => {
        throw new Error(`${path} is not read here`);
      },
    });
    const clock = systemClock;
    const log = createLog({ level: "error", format: "text", clock, sink: console.error });
    const { metrics } = this;
    const random = Math.random;
    const clusters = new ClusterPool({
      clock,
      log,
      random,
      metrics,
      secrets,
      resolver: systemResolver,
      clientTls: (tls, statName) =>
        createClientTls(tls, {
          secrets,
          log,
          counters: createTlsCounters(metrics, "envoy_cluster", { cluster_name: statName }),
        }),
    });
    const context: ProxyContext = {
      clock,
      log,
      metrics,
      random,
      clusters,
      routes: { get: (name) => configuration.get(name) },
      listen: this.#io.listen,
      dialler: this.#io.dialler,
      turnEnd: this.#io.turnEnd,
      sinkFor: createSinkCompiler({ metrics, peers: noPeers, openLog: () => this.#openLog() }),
    };
    const listeners = createListenerSet({ context, secrets });
    const configuration = new Configuration({
      feed,
      clusters,
      listeners,
      secrets,
      clock,
      log,
      metrics,
    });
    this.#ready = new Promise((resolve) => {
      configuration.onReady = resolve;
    });
    configuration.start();
    const refusals = configuration.refusals();
    if (refusals.length > 0) throw new Error(refusals.join("\n"));
    this.#close = () => {
      configuration.close();
      clusters.close();
      void listeners.close();
      closeUpstreams(context);
    };
  }

  #openLog(): AppendLines {
    const writer = new BatchWriter({
      clock: systemClock,
      write: (bytes, done) => {
        this.#lastLines = bytes.toString("latin1", 0, Math.min(bytes.length, 2000));
        done({ kind: "written" });
      },
      onDrop: (lines) => {
        throw new Error(`${lines} lines were dropped`);
      },
    });
    return writer.append;
  }

  /** Opens the connections, each with an upstream connection for each of its requests at once. */
  async open(): Promise<void> {
    await this.#ready;
    for (let index = 0; index < this.#connections; index++) {
      const channel = this.#io.connect();
      const client =
        this.#streams > 0 ? new Http2Client(channel, this.#streams) : new Http1Client(channel);
      this.#clients.push(client);
      client.ask();
    }
    // Dialled connections stand a microtask later.
    await Promise.resolve();
    for (const upstream of this.#io.dialled) upstream.handler.onData(answer);
    this.#io.endTurn();
  }

  /** `rounds` times as many requests on every connection as it carries, all of them in flight at once. */
  run(rounds: number): void {
    const clients = this.#clients;
    const upstreams = this.#io.dialled;
    for (let round = 0; round < rounds; round++) {
      for (let index = 0; index < clients.length; index++) clients[index]?.ask();
      this.#io.endTurn();
      for (let index = 0; index < upstreams.length; index++) {
        upstreams[index]?.handler.onData(answer);
      }
      this.#io.endTurn();
    }
  }

  /** `count` clients one after another, each with a connection of its own for one request. */
  churn(count: number): void {
    const upstreams = this.#io.dialled;
    for (let index = 0; index < count; index++) {
      const client = this.#io.connect();
      for (const upstream of upstreams) upstream.receivedBytes = 0;
      client.handler.onData(closing);
      upstreams.find(({ receivedBytes }) => receivedBytes > 0)?.handler.onData(answer);
      if (client.writes === 0) throw new Error("a client was not answered");
    }
  }

  /** Requests answered on all connections so far. */
  get answers(): number {
    return this.#clients.reduce((sum, { answers }) => sum + answers, 0);
  }

  /** Of one round. */
  get requests(): number {
    return this.#connections * Math.max(1, this.#streams);
  }

  /** What was heard last: by a client, by an endpoint, by the log. */
  get said(): Readonly<Record<"answer" | "request" | "lines", string>> {
    const [client] = this.#clients;
    const [upstream] = this.#io.dialled;
    return {
      answer: client?.said ?? "",
      request: upstream?.received.toString("latin1", 0, upstream.receivedBytes) ?? "",
      lines: this.#lastLines,
    };
  }

  close(): void {
    for (const client of this.#clients) client.close();
    this.#close();
  }
}
