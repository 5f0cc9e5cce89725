/**
 * The HTTP connection manager: takes accepted connections and serves HTTP/1.1 and HTTP/2 on them as its
 * Envoy configuration says. Parts: connection → stream → filters → upstream request → connection pool,
 * all in `http/`; HTTP/2's connections are in `http2/`; the byte level is in `wire/`.
 */
import { assert } from "../base/assert.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import type { RequestRecord, RequestSink } from "../telemetry/request-record.ts";
import { Http1Writer } from "../wire/http1-writer.ts";
import type { Any } from "../wire/gen/ts/google/protobuf/any.ts";
import type { HttpConnectionManager } from "../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import type { Channel } from "../net/channel.ts";
import type { ConnectionHome } from "./connection-home.ts";
import type { ConnectionFactory, ProxyContext } from "./context.ts";
import type { ConnectionView } from "./engine/request.ts";
import { compileRouteConfiguration } from "./engine/route-configuration.ts";
import type { FilterOverrideCompilers } from "./engine/filter-overrides.ts";
import { refuse, RefusalList } from "./engine/refusal.ts";
import type { RouteTable } from "./engine/route-table.ts";
import type { AcceptedHttp, ServedConnection } from "./http/accepted-http.ts";
import { DownstreamConnection } from "./http/downstream-connection.ts";
import {
  checkNamedFilter,
  compileFilters,
  filterOverrides,
  findFilter,
} from "./http/filter-chain.ts";
import { createCounters, type HttpServices } from "./http/http-services.ts";
import { LocalReplies } from "./http/local-replies.ts";
import { createLogMoments } from "./http/log-moments.ts";
import { compileRouter, routerUrl } from "./http/router-options.ts";
import { compileSettings } from "./http/settings.ts";
import { compileSpanReporter, type SpanReporter, tracedAs } from "./http/tracing.ts";
import { type Upstreams, upstreamsOf } from "./http/upstreams.ts";
import { createHttp2Counters } from "./http2/counters.ts";
import { framesOf } from "./http2/frames.ts";
import { type Http2Services, ServerConnection } from "./http2/server-connection.ts";
import type { Preparation } from "./preparation.ts";

import { alpnUrl, compileAlpn } from "./istio/alpn.ts";
import { compileIstioStats, statsUrl } from "./istio/stats.ts";

export { finishReports } from "./http/collectors.ts";
export { closeUpstreams } from "./http/upstreams.ts";

export interface HttpConnectionManagerOptions {
  /** What the listener's `traffic_direction` says. */
  readonly direction: RequestRecord["direction"];
  /** Names it among all that the proxy has: what threads share is found by it. */
  readonly owner?: string;
  /** The listener's `drain_type` is MODIFY_ONLY. */
  readonly ignoresHealth?: boolean;
  /** The listener's `per_connection_buffer_limit_bytes`. */
  readonly bufferBytesMax?: number;
}

const bufferBytesDefault = 1024 * 1024;

/** The compilers that route configurations need for filters' per-route messages. */
export const httpFilterOverrides: FilterOverrideCompilers = filterOverrides;

/** Throws a refusal (`xds.refused`) that names a field which cannot be honoured. */
export function createHttpConnectionManager(
  given: HttpConnectionManager,
  context: ProxyContext,
  options: HttpConnectionManagerOptions,
): ConnectionFactory {
  const upstreams = upstreamsOf(context);
  const refusals = new RefusalList();
  const node = context.node ?? noNode;
  const router = compileRouter(findFilter(given.httpFilters, routerUrl));
  const config = router.spawnsSpans ? withUpstreamSpans(given) : given;
  const owner = options.owner ?? config.statPrefix;
  const spans = refusals.attempt(() => compileSpanReporter(config, context));
  const sink = refusals.attempt(() => context.sinkFor(config.accessLog, config.statPrefix));
  const settings = refusals.attempt(() => tracedAs(compileSettings(config), node));
  const moments = refusals.attempt(() => createLogMoments(config, sink, upstreams.wheel));
  const place = { owner, statPrefix: config.statPrefix, headLimits: settings?.limits };
  const filterServices = { ...context, upstreams, node, ...place };
  const filters = refusals.attempt(() =>
    compileFilters(config.httpFilters, filterServices, moments),
  );
  const localReplies = refusals.attempt(() => localRepliesOf(config, context));
  const routes = refusals.attempt(() => routesOf(config, context, owner));
  const stats = refusals.attempt(() => istioStatsOf(config, options.direction, context));
  refusals.attempt(() => overrideAlpn(config, upstreams));
  refusals.throwIfAny();
  assert(
    sink !== undefined && settings !== undefined && filters !== undefined && routes !== undefined,
    "a connection manager that lacks a part was refused",
  );
  const services: HttpServices = {
    settings,
    context,
    upstreams,
    filters,
    router,
    localReplies,
    sink: joinSinks(observed(sink, spans, context.tap), stats),
    direction: options.direction,
    routes,
    ignoresHealth: options.ignoresHealth ?? false,
    bufferBytesMax: options.bufferBytesMax ?? bufferBytesDefault,
    downstreamWriter: new Http1Writer(),
    counters: createCounters(context, config.statPrefix),
    isRetired: false,
  };
  return createFactory(services);
}

/** Throws a refusal for what no filter can be made of that stands under a name. */
export function checkHttpFilter(config: Any, context: ProxyContext): void {
  // What is only looked at leaves neither series nor buckets behind.
  const { buckets: _, ...services } = { ...context, metrics: createMetricRegistry() };
  const { node = noNode } = context;
  const upstreams = upstreamsOf(context);
  checkNamedFilter(config, { ...services, upstreams, node, owner: "", statPrefix: "" });
}

/** Its router's older word for it. */
function withUpstreamSpans(config: HttpConnectionManager): HttpConnectionManager {
  const { tracing } = config;
  if (tracing === undefined) return config;
  return { ...config, tracing: { ...tracing, spawnUpstreamSpan: true } };
}

const noNode = { id: "", metadata: {} };

function istioStatsOf(
  { httpFilters }: HttpConnectionManager,
  direction: RequestRecord["direction"],
  { clock, metrics, node = noNode }: ProxyContext,
): RequestSink | undefined {
  const found = findFilter(httpFilters, statsUrl);
  if (found === undefined) return undefined;
  const { metadata } = node;
  return compileIstioStats(found.bytes, found.path, { clock, metrics, node: metadata, direction });
}

function overrideAlpn({ httpFilters }: HttpConnectionManager, upstreams: Upstreams): void {
  const found = findFilter(httpFilters, alpnUrl);
  if (found !== undefined) upstreams.offerToMesh(compileAlpn(found.bytes, found.path), found.path);
}

function localRepliesOf(
  { localReplyConfig }: HttpConnectionManager,
  { random }: ProxyContext,
): LocalReplies | undefined {
  if (localReplyConfig === undefined) return undefined;
  return new LocalReplies(localReplyConfig, "local_reply_config", random);
}

function joinSinks(sink: RequestSink, more: RequestSink | undefined): RequestSink {
  if (more === undefined) return sink;
  return {
    onEnd(record) {
      sink.onEnd(record);
      more.onEnd(record);
    },
  };
}

/** Connection managers report no progress, so the end is all there is to hand on. */
function observed(
  sink: RequestSink,
  spans: SpanReporter | undefined,
  tap: ProxyContext["tap"],
): RequestSink {
  return {
    onEnd(record) {
      sink.onEnd(record);
      if (record.isSampled) spans?.add(record);
      tap?.onEnd(record);
    },
  };
}

function createFactory(services: HttpServices): ConnectionFactory {
  /** By when each came. */
  const connections = new Map<ServedConnection, number>();
  const { downstream } = services.counters;
  const { wheel } = services.upstreams;
  /** False where another connection manager has had it. */
  const meet = (channel: Channel, first: Buffer | undefined): boolean => {
    const isNew = channel.meter === undefined;
    channel.meter = downstream.meter;
    if (isNew && first !== undefined) downstream.meter.received.add(first.length);
    return isNew;
  };
  const onOpened = (connection: ServedConnection, isNew: boolean): void => {
    connections.set(connection, wheel.nowMs);
    downstream.onOpened(isNew, connection.channel.tls !== undefined);
  };
  const onClosed = (connection: ServedConnection): void => {
    const sinceMs = connections.get(connection);
    if (sinceMs === undefined) return;
    connections.delete(connection);
    const { end, channel } = connection;
    downstream.onClosed(end, wheel.nowMs - sinceMs, channel.tls !== undefined);
  };
  const { codec } = services.settings;
  const http2 = createHttp2Services(services);
  const takeHttp2 = (
    accepted: AcceptedHttp,
    ...[first, isNew = false]: [first: Buffer | undefined, isNew?: boolean]
  ): boolean => {
    if (codec === "http1") return false;
    const connection = new ServerConnection(accepted, services, http2(), onClosed);
    onOpened(connection, isNew);
    downstream.onProtocol("http2");
    accepted.channel.handler = connection;
    if (first !== undefined && first.length > 0) connection.onData(first);
    return true;
  };
  const owner = { onClosed, takeHttp2 };
  const preparation = preparationOf(services);
  return {
    preparation,
    accept(
      channel: Channel,
      view: ConnectionView,
      ...[first, home]: [first: Buffer | undefined, home: ConnectionHome]
    ): void {
      const isNew = meet(channel, first);
      const accepted = { channel, view, home };
      const isHttp2 = codec === "http2" || (codec === "auto" && view.alpn === "h2");
      if (isHttp2) {
        takeHttp2(accepted, first, isNew);
        return;
      }
      const connection = new DownstreamConnection(accepted, services, owner);
      onOpened(connection, isNew);
      channel.handler = connection;
      if (first !== undefined && first.length > 0) connection.onData(first);
    },
    closeIdle(sinceMs): void {
      upstreamsOf(services.context).wheel.touch();
      for (const connection of connections.keys()) connection.closeIdle(sinceMs);
    },
    retire(): void {
      services.isRetired = true;
      preparation?.end();
      for (const connection of connections.keys()) connection.onRetired?.();
    },
    moveIdle(): void {
      for (const connection of connections.keys()) connection.moveIdle();
    },
  };
}

function preparationOf({ context, filters }: HttpServices): Preparation | undefined {
  return context.isServedElsewhere === true ? undefined : filters.preparation;
}

/** Made when a client first speaks HTTP/2: most connection managers never need it. */
function createHttp2Services({ settings, context }: HttpServices): () => Http2Services {
  let made: Http2Services | undefined;
  return () => {
    made ??= {
      settings: settings.http2,
      counters: createHttp2Counters(context, settings.statPrefix),
      memory: framesOf(context),
    };
    return made;
  };
}

function routesOf(
  config: HttpConnectionManager,
  context: ProxyContext,
  owner: string,
): () => RouteTable | undefined {
  const { rds, routeConfig } = config;
  if (rds !== undefined) return () => context.routes.get(rds.routeConfigName);
  if (routeConfig === undefined) refuse("route_specifier", "rds or route_config is needed");
  const refusals = new RefusalList();
  const table = refusals.attempt(
    () => compileRouteConfiguration(routeConfig, filterOverrides, { owner }),
    "route_config",
  );
  refusals.throwIfAny();
  return () => table;
}
