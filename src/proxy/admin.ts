/**
 * Envoy's admin interface over this data plane, as a function from request to answer: whoever serves
 * it decides who may reach it. Nothing here gives away a private key.
 */
import { messageOf } from "../base/error.ts";
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import type { SecretSource } from "../net/secret-source.ts";
import type { Log } from "../telemetry/log.ts";
import { parseLogLevel } from "../telemetry/log.ts";
import type { LogLevel } from "../telemetry/logger.ts";
import { describeCertificates } from "./admin/certificates.ts";
import { clustersJson, clustersText, type EndpointLoad } from "./admin/clusters.ts";
import { CounterReset } from "./admin/counter-reset.ts";
import { dumpConfig, type ProxyBootstrap } from "./admin/config-dump.ts";
import { runtimeOf } from "./admin/runtime.ts";
import { addressJson } from "./engine/proto-address.ts";
import { listStats } from "./admin/stats.ts";
import type { ClusterPool } from "./cluster.ts";
import type { Configuration } from "./config.ts";
import type { TapAnswer } from "./stats/tap.ts";
import type { DrainPlan } from "./drain.ts";

export type { ProxyBootstrap };

export interface AdminRequest {
  readonly method: string;
  /** Without the query: `/config_dump`. */
  readonly path: string;
  readonly query: URLSearchParams;
}

export interface AdminResponse {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

export type AdminHandler = (request: AdminRequest) => Promise<AdminResponse>;

export interface AdminState {
  readonly configuration: Configuration;
  readonly clusters: ClusterPool;
  readonly secrets: SecretSource;
  readonly log: Log;
  readonly version: string;
  readonly nodeId: string;
  readonly bootstrap: ProxyBootstrap | undefined;
  /** Milliseconds since the data plane started. */
  readonly uptimeMs: () => number;
  readonly exposeMetrics: () => Promise<string> | string;
  /** Single requests, of all threads. */
  readonly tap: (query: string) => Promise<TapAnswer> | TapAnswer;
  /** What every thread says of its endpoints. */
  readonly loads: () => Promise<readonly EndpointLoad[]> | readonly EndpointLoad[];
  /** Why it cannot serve yet; undefined when it can. */
  readonly waitingFor: () => string | undefined;
  readonly setLogLevel: (level: LogLevel, area?: string) => void;
  readonly listeners: () => readonly { readonly name: string; readonly address: SocketAddress }[];
  readonly isDraining: () => boolean;
  readonly drain: (plan: DrainPlan) => void;
  readonly setHealthy: (isHealthy: boolean) => void;
  /** Ends the process as its supervisor would. */
  readonly quit: () => void;
  /** Absent: nothing is written to files. */
  readonly reopenLogs: (() => void) | undefined;
}

/** As Envoy is started by Heddle and by Istio: `--drain-time-s 45 --drain-strategy immediate`. */
const gracefulMs = 45_000;

type Handler = (request: AdminRequest, state: AdminState) => AdminResponse | Promise<AdminResponse>;

export function createAdmin(parts: AdminState): AdminHandler {
  const counters = new CounterReset();
  const { exposeMetrics } = parts;
  const state: AdminState = {
    ...parts,
    exposeMetrics: async () => counters.applyTo(await exposeMetrics()),
  };
  const resetCounters: Handler = async () => {
    counters.reset(await exposeMetrics());
    return text(200, "OK\n");
  };
  const handlers = new Map([...fixedHandlers, ["/reset_counters", resetCounters] as const]);
  return async (request) => {
    const handler = handlers.get(request.path);
    if (handler === undefined) {
      return text(404, `unknown path; there are: ${[...handlers.keys()].join(" ")}\n`);
    }
    if (changing.has(request.path) && request.method !== "POST") {
      return text(405, "use POST: this changes something\n");
    }
    try {
      return await handler(request, state);
    } catch (thrown) {
      return text(400, `${messageOf(thrown)}\n`);
    }
  };
}

/** Reading log levels is allowed with POST alone too, as in Envoy. */
const changing: ReadonlySet<string> = new Set([
  "/logging",
  "/drain_listeners",
  "/healthcheck/fail",
  "/healthcheck/ok",
  "/reopen_logs",
  "/reset_counters",
  "/quitquitquit",
]);

const fixedHandlers: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  ["/config_dump", async ({ query }, state) => json(await dumpConfig(state, query))],
  [
    "/clusters",
    async ({ query }, { clusters, loads }) =>
      query.get("format") === "json"
        ? json(clustersJson(clusters.active(), await loads()))
        : text(200, clustersText(clusters.active(), await loads())),
  ],
  [
    "/reopen_logs",
    (_request, { reopenLogs }) => {
      reopenLogs?.();
      return text(200, "OK\n");
    },
  ],
  ["/tap", async ({ query }, { tap }) => json(await tap(query.toString()))],
  ["/listeners", ({ query }, state) => listListeners(query, state)],
  ["/stats", ({ query }, state) => statsAnswer(query, state)],
  [
    "/stats/prometheus",
    async (_request, state) => ({
      status: 200,
      contentType: "text/plain; version=0.0.4; charset=utf-8",
      body: await state.exposeMetrics(),
    }),
  ],
  ["/server_info", (_request, state) => json(serverInfo(state))],
  ["/ready", (_request, state) => readiness(state)],
  ["/logging", ({ query }, state) => setLogLevels(query, state)],
  [
    "/certs",
    (_request, { secrets, configuration }) =>
      json(describeCertificates(secrets, configuration.secretNames())),
  ],
  ["/memory", () => json(memory())],
  [
    "/drain_listeners",
    ({ query }, state) => {
      state.drain(drainPlanOf(query));
      return text(200, "OK\n");
    },
  ],
  ["/init_dump", (_request, state) => json(initDump(state))],
  ["/runtime", (_request, state) => json(runtimeOf(state.bootstrap?.json))],
  ["/hot_restart_version", () => text(200, "disabled\n")],
  [
    "/quitquitquit",
    (_request, { quit }) => {
      quit();
      return text(200, "OK\n");
    },
  ],
  ["/healthcheck/fail", (_request, state) => setHealthy(state, false)],
  ["/healthcheck/ok", (_request, state) => setHealthy(state, true)],
]);

/**
 * Sockets close at once, or with `graceful` after the time that Istio gives; the process goes on, and
 * nothing is cut off.
 */
function drainPlanOf(query: URLSearchParams): DrainPlan {
  const isGraceful = query.has("graceful");
  return {
    strategy: "immediate",
    acceptMs: isGraceful ? gracefulMs : 0,
    isInboundOnly: query.has("inboundonly"),
  };
}

function setHealthy(state: AdminState, isHealthy: boolean): AdminResponse {
  state.setHealthy(isHealthy);
  return text(200, "OK\n");
}

function text(status: number, body: string): AdminResponse {
  return { status, contentType: "text/plain; charset=utf-8", body };
}

function json(value: unknown): AdminResponse {
  const body = `${JSON.stringify(value, undefined, 1)}\n`;
  return { status: 200, contentType: "application/json", body };
}

function listListeners(query: URLSearchParams, state: AdminState): AdminResponse {
  const all = state.listeners();
  if (query.get("format") !== "json") {
    const lines = all.map(({ name, address }) => `${name}::${formatSocketAddress(address)}\n`);
    return text(200, lines.join(""));
  }
  return json({
    listener_statuses: all.map(({ name, address }) => ({
      name,
      local_address: addressJson(address),
    })),
  });
}

async function statsAnswer(query: URLSearchParams, state: AdminState): Promise<AdminResponse> {
  const format = query.get("format") ?? "text";
  const exposition = await state.exposeMetrics();
  const stats = listStats(exposition, query.get("filter") ?? "");
  if (format === "json") return json({ stats });
  if (format === "prometheus") {
    if (!query.has("filter")) return text(200, exposition);
    return text(200, stats.map(({ name, value }) => `${name} ${value}\n`).join(""));
  }
  return text(200, stats.map(({ name, value }) => `${name}: ${value}\n`).join(""));
}

function serverInfo(state: AdminState): unknown {
  const seconds = `${Math.floor(state.uptimeMs() / 1000)}s`;
  return {
    version: `heddle/${state.version}`,
    state: stateName(state),
    uptime_current_epoch: seconds,
    uptime_all_epochs: seconds,
    hot_restart_version: "disabled",
    node: { id: state.nodeId, user_agent_name: "heddle" },
  };
}

function stateName(state: AdminState): string {
  if (state.isDraining()) return "DRAINING";
  return state.waitingFor() === undefined ? "LIVE" : "INITIALIZING";
}

/** What it waits for before it serves, in Envoy's form. */
function initDump(state: AdminState): unknown {
  const reason = state.waitingFor();
  if (reason === undefined) return {};
  return { unready_targets_dumps: [{ name: "init manager Server", target_names: [reason] }] };
}

function readiness(state: AdminState): AdminResponse {
  const name = stateName(state);
  if (name === "LIVE") return text(200, "LIVE\n");
  const reason = state.waitingFor();
  return text(503, reason === undefined ? `${name}\n` : `${name}: ${reason}\n`);
}

/** `?level=debug`, `?paths=xds:debug,listener:info`, `?xds=debug`; without any, only lists. */
function setLogLevels(query: URLSearchParams, { log, setLogLevel }: AdminState): AdminResponse {
  const known = log.levels();
  for (const [key, value] of query) {
    const settings =
      key === "paths" ? value.split(",").map((pair) => pair.split(":")) : [[key, value]];
    for (const [area = "", levelText = ""] of settings) {
      const level = parseLogLevel(levelText === "warning" ? "warn" : levelText);
      if (level === undefined) return text(400, `'${levelText}' is no log level\n`);
      if (area !== "level" && !known.has(area)) {
        return text(
          400,
          `there is no logger '${area}'; there are: ${[...known.keys()].join(" ")}\n`,
        );
      }
      if (area === "level") setLogLevel(level);
      else setLogLevel(level, area);
    }
  }
  const levels = [...log.levels()].map(([area, level]) => `  ${area}: ${level}\n`);
  return text(200, `active loggers:\n${levels.join("")}`);
}

function memory(): unknown {
  const usage = process.memoryUsage();
  return {
    allocated: String(usage.heapUsed + usage.external),
    heap_size: String(usage.heapTotal + usage.external),
    pageheap_unmapped: "0",
    pageheap_free: String(usage.heapTotal - usage.heapUsed),
    total_thread_cache: "0",
    total_physical_bytes: String(usage.rss),
  };
}
