/**
 * The network filter that carries bytes between a connection and an endpoint without looking at
 * them: Envoy's `tcp_proxy`.
 */
import type { Channel } from "../net/channel.ts";
import type { RequestRecord, RequestSink } from "../telemetry/request-record.ts";
import type { TcpProxy } from "../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import type { ConnectionHome } from "./connection-home.ts";
import type { ConnectionFactory, ProxyContext } from "./context.ts";
import { durationMs } from "./engine/duration.ts";
import { tcpClusterKey } from "./engine/filter-state.ts";
import { refuse } from "./engine/refusal.ts";
import type { ConnectionView } from "./engine/request.ts";
import { compileEarly } from "./tcp/early-data.ts";
import { createTcpCounters } from "./tcp/tcp-counters.ts";
import { TcpRecord } from "./tcp/tcp-record.ts";
import { compileTunnel } from "./tcp/tunnel.ts";
import { TcpSession, type TcpSettings } from "./tcp/tcp-session.ts";

export interface TcpProxyOptions {
  readonly direction: RequestRecord["direction"];
  /** Told of each connection beside the loggers. */
  readonly sinks?: readonly RequestSink[];
}

export interface Denial {
  readonly details: string;
  readonly onRecord: ConnectionHome["onRecord"];
}

export interface TcpFactory extends ConnectionFactory {
  /** A filter before this one denied the connection: close it and say why in the access log. */
  deny(channel: Channel, connection: ConnectionView, denial: Denial): void;
}

const idleTimeoutMsDefault = 3_600_000;

/** Throws a refusal (`xds.refused`) that names a field which cannot be honoured. */
export function createTcpProxy(
  config: TcpProxy,
  context: ProxyContext,
  { direction, sinks = [] }: TcpProxyOptions,
): TcpFactory {
  for (const [i, { sourceIp }] of config.hashPolicy.entries()) {
    if (sourceIp === undefined) refuse(`hash_policy[${i}]`, "only source_ip is supported");
  }
  const counters = createTcpCounters(context.metrics, config.statPrefix);
  const settings: TcpSettings = {
    direction,
    counters,
    chooseCluster: preferringState(compileChoice(config, context.random)),
    idleTimeoutMs: durationMs(config.idleTimeout) ?? idleTimeoutMsDefault,
    durationMsMax: durationMs(config.maxDownstreamConnectionDuration) ?? 0,
    hashes: config.hashPolicy.length > 0,
    attemptsMax: Math.max(1, config.maxConnectAttempts ?? 1),
    tunnel:
      config.tunnelingConfig === undefined
        ? undefined
        : compileTunnel(config.tunnelingConfig, "tunneling_config"),
    early: compileEarly(config),
    sink: joined([
      context.sinkFor(config.accessLog, config.statPrefix, {
        tellsConnected:
          config.flushAccessLogOnConnected ||
          config.accessLogOptions?.flushAccessLogOnConnected === true,
      }),
      ...sinks,
    ]),
  };
  const { connections, meter } = counters;
  return {
    accept(channel, connection, first, home) {
      connections.add();
      channel.meter = meter;
      if (first !== undefined) meter.received.add(first.length);
      const { onFirstWords } = home;
      const session = new TcpSession(context, settings, { channel, connection, onFirstWords });
      home.onRecord?.(session.record);
      session.start(first);
    },
    deny(channel, connection, { details, onRecord }) {
      const record = new TcpRecord(channel, connection, direction);
      record.startMs = context.clock.nowMs();
      record.startMonotonicMs = context.clock.monotonicMs();
      record.connectionTerminationDetails = details;
      // Envoy has chosen by the time it denies, and its logs say so.
      record.upstreamCluster = settings.chooseCluster(connection);
      onRecord?.(record);
      channel.destroy();
      settings.sink.onEnd(record);
    },
    // A byte stream has no point at which it could be ended politely; who drains cuts it off later.
    closeIdle: () => {},
    retire: () => {},
    moveIdle: () => {},
  };
}

/** A filter before this one may have said where the connection goes. */
function preferringState(choose: () => string): (connection: ConnectionView) => string {
  return ({ state }) => state?.get(tcpClusterKey)?.text ?? choose();
}

function compileChoice(config: TcpProxy, random: () => number): () => string {
  const { cluster, weightedClusters } = config;
  if (weightedClusters === undefined) {
    if (cluster === undefined || cluster === "") refuse("cluster", "is required");
    return () => cluster;
  }
  const { clusters } = weightedClusters;
  const total = clusters.reduce((sum, { weight }) => sum + weight, 0);
  if (total <= 0) refuse("weighted_clusters", "has no weight");
  return () => {
    let left = random() * total;
    for (const { name, weight } of clusters) {
      left -= weight;
      if (left < 0) return name;
    }
    return clusters.at(-1)?.name ?? "";
  };
}

function joined(sinks: readonly RequestSink[]): RequestSink {
  const [only] = sinks;
  if (only !== undefined && sinks.length === 1) return only;
  return {
    onEnd(record) {
      for (const sink of sinks) sink.onEnd(record);
    },
    onConnected(record) {
      for (const sink of sinks) sink.onConnected?.(record);
    },
    onProgress(record) {
      for (const sink of sinks) sink.onProgress?.(record);
    },
  };
}
