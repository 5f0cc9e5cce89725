/** :15020 (merged metrics), :15021 (readiness), :15090 (metrics of the proxy). */
import type { HttpListener } from "../../net/http-listener.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { protobufContentType } from "../../telemetry/metrics.ts";
import { plainText, serveAdmin, type AdminHandler } from "../admin.ts";

export interface StatusServersOptions {
  readonly address: string;
  readonly ports: {
    readonly mergedMetrics: number;
    readonly ready: number;
    readonly metrics: number;
  };
  /** Why traffic cannot be served yet, in one sentence; undefined when it can. */
  readonly notReady: () => Promise<string | undefined> | string | undefined;
  /** Prometheus text. */
  readonly metrics: () => Promise<string> | string;
  /** The same in pieces, where it is to be had so. */
  readonly metricPieces?: () => Iterable<string>;
  /** The same as Prometheus's protobuf, where the data plane has native histograms. */
  readonly protobuf?: () => Promise<Uint8Array> | Uint8Array;
  /** The same and the application's, where it has some. */
  readonly mergedMetrics?: () => Promise<string> | string;
  readonly log: Logger;
}

export interface StatusServers {
  /** As bound; differ from what was asked for where that was 0. */
  readonly ports: { readonly ready: number; readonly metrics: number };
  close(): Promise<void>;
}

/** A scraper that names it can read it; Prometheus does when native histograms are on. */
const protobufType = "application/vnd.google.protobuf";
const exposition = "text/plain; version=0.0.4; charset=utf-8";

export async function startStatusServers(options: StatusServersOptions): Promise<StatusServers> {
  const { address, ports, notReady, log } = options;
  const ready: AdminHandler = async ({ path }) => {
    if (path !== "/healthz/ready" && path !== "/ready") return plainText(404, "not found\n");
    const reason = await notReady();
    return reason === undefined ? plainText(200, "ready\n") : plainText(503, `${reason}\n`);
  };
  const { protobuf } = options;
  const exposing =
    (text: () => Promise<string> | string, isProxyAlone: boolean): AdminHandler =>
    async ({ path, accept = "" }) => {
      if (path !== "/stats/prometheus" && path !== "/metrics") return plainText(404, "not found\n");
      // What an application says is text, and is handed on as it is.
      if (isProxyAlone && protobuf !== undefined && accept.includes(protobufType)) {
        return { status: 200, contentType: protobufContentType, body: await protobuf() };
      }
      const { metricPieces } = options;
      if (text === options.metrics && metricPieces !== undefined) {
        return { status: 200, contentType: exposition, body: "", pieces: metricPieces() };
      }
      return { status: 200, contentType: exposition, body: await text() };
    };
  const metrics = exposing(options.metrics, true);
  const { mergedMetrics } = options;
  const all = exposing(mergedMetrics ?? options.metrics, mergedMetrics === undefined);
  const merged: AdminHandler = (request) =>
    request.path.startsWith("/healthz/") ? ready(request) : all(request);
  const listeners: HttpListener[] = [];
  const open = async (port: number, handler: AdminHandler): Promise<number> => {
    const listener = await serveAdmin({ address, port }, handler, log);
    listeners.push(listener);
    return listener.address?.port ?? port;
  };
  const close = async (): Promise<void> => {
    await Promise.all(listeners.map((listener) => listener.close()));
  };
  try {
    await open(ports.mergedMetrics, merged);
    const bound = {
      ready: await open(ports.ready, ready),
      metrics: await open(ports.metrics, metrics),
    };
    return { ports: bound, close };
  } catch (thrown) {
    await close();
    throw thrown;
  }
}
