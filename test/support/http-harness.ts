/**
 * An HTTP connection manager between scripted channels: a test plays the client and the endpoints,
 * and moves the clock. No sockets, no waiting.
 */
import type { ChannelError, ChannelHandler } from "../../src/net/channel.ts";
import type { DialOptions } from "../../src/net/dialler.ts";
import type { ConnectionHome } from "../../src/proxy/connection-home.ts";
import type {
  ProxyContext,
  UpstreamCluster,
  UpstreamEndpoint,
  UpstreamHttp2,
  UpstreamOutcome,
} from "../../src/proxy/context.ts";
import { Drain } from "../../src/proxy/drain.ts";
import { createHttpConnectionManager } from "../../src/proxy/http.ts";
import type { CallServices } from "../../src/proxy/http/cluster-call.ts";
import { Upstreams } from "../../src/proxy/http/upstreams.ts";
import {
  createMetricRegistry,
  type OwnedMetricRegistry,
} from "../../src/telemetry/metric-registry.ts";
import type { RequestRecord } from "../../src/telemetry/request-record.ts";
import type { HeadLimits } from "../../src/wire/http1-head.ts";
import { HttpConnectionManager } from "../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { Router } from "../../src/wire/gen/ts/envoy/extensions/filters/http/router/v3/router.ts";
import {
  type DeepPartial,
  RouteConfiguration,
} from "../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import type { RouteAction } from "../../src/wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { FakeClock } from "./fake-clock.ts";
import { ScriptedChannel } from "./scripted-channel.ts";
import { silentCounters } from "./silent-counters.ts";
import { silentLog } from "./silent-log.ts";

export interface LoggedRequest {
  readonly status: number;
  readonly flags: string;
  readonly details: string;
  readonly method: string;
  readonly path: string;
  readonly attempts: number;
  readonly received: number;
  readonly sent: number;
}

/** Deep partial of the manager's message; routes to cluster `app` and only the router by default. */
export interface HarnessOptions {
  readonly manager?: DeepPartial<HttpConnectionManager>;
  readonly routes?: DeepPartial<RouteConfiguration>;
  readonly limits?: Partial<Record<"connection" | "pending" | "request" | "retry", number>>;
  readonly maxRequestsPerConnection?: number;
  readonly maxConnectionDurationMs?: number;
  readonly maxStreamDurationMs?: number;
  /** Endpoints speak it. */
  readonly http2?: UpstreamHttp2;
  /** Of answers. */
  readonly headLimits?: HeadLimits;
  readonly endpoints?: number;
  readonly filters?: readonly { readonly typeUrl: string; readonly value: Uint8Array }[];
}

export class HttpHarness {
  readonly clock: FakeClock = new FakeClock();
  readonly log: LoggedRequest[] = [];
  readonly metrics: OwnedMetricRegistry = createMetricRegistry();
  readonly outcomes: UpstreamOutcome[] = [];
  /** By each choice of an endpoint: the host of the request it was for. */
  readonly askedFor: (string | undefined)[] = [];
  readonly endpoints: UpstreamEndpoint[] = [];
  /** Dialled connections, in order. */
  readonly upstreams: ScriptedUpstream[] = [];
  readonly inUse: Record<"connection" | "pending" | "request" | "retry", number> = {
    connection: 0,
    pending: 0,
    request: 0,
    retry: 0,
  };
  record: RequestRecord | undefined;
  random = 0.5;
  readonly drain: Drain = new Drain(this.clock, () => this.random);
  readonly closeIdle: (sinceMs: number) => void;
  readonly retire: () => void;
  /** Before the first connection; true: `onBegun` will be called. */
  readonly begin: (onBegun: () => void) => boolean;
  /** Where connections belong once the manager is retired: nowhere, unless a test says otherwise. */
  home: ConnectionHome = { refusal: () => "gone", move: () => "gone" };
  readonly adopt: (channel: ScriptedChannel, first: Buffer | undefined) => void;
  /** For what the proxy asks by itself, beside all connection managers. */
  readonly callServices: CallServices;
  readonly #homeOfNow: ConnectionHome = {
    refusal: () => this.home.refusal(),
    move: (first) => this.home.move(first),
  };

  constructor(options: HarnessOptions = {}) {
    const cluster = this.#cluster(options);
    const context: ProxyContext = {
      clock: this.clock,
      log: silentLog,
      metrics: this.metrics,
      random: () => this.random,
      clusters: { get: (name) => (name === "app" ? cluster : undefined) },
      routes: { get: () => undefined },
      drain: this.drain,
      dialler: { dial: (dial) => this.#dial(dial) },
      sinkFor: () => ({ onEnd: (record) => this.#onEnd(record) }),
    };
    this.callServices = { clusters: context.clusters, upstreams: new Upstreams(context) };
    const factory = createHttpConnectionManager(managerOf(options), context, {
      direction: "inbound",
      bufferBytesMax: 4096,
    });
    this.closeIdle = (sinceMs) => factory.closeIdle(sinceMs);
    this.retire = () => factory.retire();
    this.begin = (onBegun) => factory.preparation?.begin(onBegun) === true;
    this.adopt = (channel, first) => factory.accept(channel, view, first, this.#homeOfNow);
  }

  connect(): ScriptedChannel {
    const channel = new ScriptedChannel();
    this.adopt(channel, undefined);
    return channel;
  }

  /** The connection dialled last, connected if it was not. */
  upstream(index: number = this.upstreams.length - 1): ScriptedChannel {
    const upstream = this.upstreams[index];
    if (upstream === undefined) throw new Error(`no upstream connection ${index}`);
    upstream.connect();
    return upstream.channel;
  }

  refuse(error: ChannelError = { code: "ECONNREFUSED", message: "refused" }): void {
    this.upstreams.at(-1)?.channel.close(error);
  }

  #onEnd(record: RequestRecord): void {
    this.record = record;
    this.log.push({
      status: record.responseCode,
      flags: record.responseFlags,
      details: record.responseCodeDetails,
      method: record.method,
      path: record.path,
      attempts: record.upstreamAttempts,
      received: record.bytesReceived,
      sent: record.bytesSent,
    });
  }

  #dial(dial: DialOptions): ScriptedChannel {
    const upstream = new ScriptedUpstream(dial);
    this.upstreams.push(upstream);
    return upstream.channel;
  }

  #cluster(options: HarnessOptions): UpstreamCluster {
    for (let index = 0; index < (options.endpoints ?? 1); index++) {
      this.endpoints.push({
        address: { address: "10.0.0.1", port: 80 + index },
        hostname: "",
        metadata: {},
        tls: undefined,
        active: 0,
        report: (outcome) => this.outcomes.push(outcome),
      });
    }
    const take = (kind: keyof typeof this.inUse): boolean => {
      if (this.inUse[kind] >= (options.limits?.[kind] ?? 100)) return false;
      this.inUse[kind]++;
      return true;
    };
    const { inUse } = this;
    return {
      name: "app",
      statName: "app",
      connectTimeoutMs: 1000,
      metadata: undefined,
      maxRequestsPerConnection: options.maxRequestsPerConnection ?? 0,
      maxConnectionDurationMs: options.maxConnectionDurationMs ?? 0,
      maxStreamDurationMs: options.maxStreamDurationMs ?? 0,
      http2: options.http2,
      headLimits: options.headLimits,
      idleTimeoutMs: 60_000,
      pick: ({ avoid, authority }) => {
        this.askedFor.push(authority);
        return this.endpoints.find((endpoint) => avoid?.(endpoint) !== true) ?? this.endpoints[0];
      },
      limits: {
        tryConnection: () => take("connection"),
        releaseConnection: () => void inUse.connection--,
        tryPending: () => take("pending"),
        releasePending: () => void inUse.pending--,
        tryRequest: () => take("request"),
        releaseRequest: () => void inUse.request--,
        tryRetry: () => take("retry"),
        releaseRetry: () => void inUse.retry--,
      },
      counters: silentCounters,
    };
  }
}

const view = {
  sourceAddress: "10.1.1.1",
  sourcePort: 4000,
  destinationAddress: "10.2.2.2",
  destinationPort: 80,
  sni: undefined,
  alpn: undefined,
  isTls: false,
  peerUriSans: [],
} as const;

class ScriptedUpstream {
  readonly channel: ScriptedChannel = new ScriptedChannel();
  readonly #dial: DialOptions;
  #isConnected = false;

  constructor(dial: DialOptions) {
    this.#dial = dial;
    const handler: ChannelHandler = dial.handler;
    this.channel.handler = handler;
  }

  connect(): void {
    if (this.#isConnected) return;
    this.#isConnected = true;
    this.#dial.onTcpConnect?.();
    this.#dial.onConnect(this.channel);
  }
}

/** Everything to `app`. */
export function routesToApp(
  action: DeepPartial<RouteAction> = {},
): DeepPartial<RouteConfiguration> {
  return {
    name: "test",
    virtualHosts: [
      {
        name: "all",
        domains: ["*"],
        routes: [{ name: "default", match: { prefix: "/" }, route: { cluster: "app", ...action } }],
      },
    ],
  };
}

export function managerOf(options: HarnessOptions): HttpConnectionManager {
  const filters = (options.filters ?? []).map((typedConfig, index) => ({
    name: `filter-${index}`,
    typedConfig,
  }));
  return HttpConnectionManager.fromPartial({
    statPrefix: "test",
    routeConfig: RouteConfiguration.fromPartial(options.routes ?? routesToApp()),
    httpFilters: [
      ...filters,
      {
        name: "router",
        typedConfig: {
          typeUrl: "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
          value: Router.encode(Router.fromPartial({})).finish(),
        },
      },
    ],
    ...options.manager,
  });
}
