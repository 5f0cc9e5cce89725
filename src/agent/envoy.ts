/**
 * Envoy as the data plane: a child process configured through the agent's Unix socket, with its
 * admin interface and metrics passed on under the names that Heddle's own proxy uses.
 */
import { closeSync, openSync, rmSync } from "node:fs";

import type { Clock } from "../base/clock.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import type { SidecarOptions } from "../base/sidecar-options.ts";
import { startGrpcServer, type GrpcServer } from "../net/grpc-server.ts";
import { defaultGrpcKeepalive } from "../net/grpc.ts";
import { requestHttp, type HttpResponse } from "../net/http-request.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { OwnedMetricRegistry } from "../telemetry/metric-registry.ts";
import { type AdminHandler, plainText } from "./admin.ts";
import type { Agent, ServedDataPlane } from "./agent.ts";
import { envoyBootstrap } from "./envoy/bootstrap.ts";
import { EnvoyProcess } from "./envoy/envoy-process.ts";
import { EnvoyRelay } from "./envoy/relay.ts";
import { openProcessMemory } from "./process-memory.ts";
import { StatsTranslator } from "./envoy/stats-translator.ts";

export interface EnvoyOptions {
  readonly sidecar: SidecarOptions;
  readonly agent: Agent;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: OwnedMetricRegistry;
}

export interface EnvoyDataPlane extends ServedDataPlane {
  readonly pid: number | undefined;
  /** Envoy ends connections with their answers; resolves when they have gone, or nothing comes any more. */
  drain(): Promise<void>;
  close(graceMs: number): Promise<void>;
}

/** Starts Envoy and keeps it running; throws when there is none to run. */
/** The area of Envoy's own lines. Whoever makes the log lets all of it pass: Envoy has levels of its own. */
export const envoyLinesArea = "envoy-log";

export async function startEnvoy(options: EnvoyOptions): Promise<EnvoyDataPlane> {
  const { sidecar, agent, clock, log, metrics } = options;
  const { files } = agent;
  const binary = sidecar.envoyBinary;
  if (binary === undefined) {
    throw new HeddleError("agent.options", "the data plane is envoy, but envoyBinary is not set");
  }
  const paths = { xdsSocket: files.path("xds.sock"), adminSocket: files.path("envoy-admin.sock") };
  for (const path of Object.values(paths)) rmSync(path, { force: true });
  const limitBytes = openProcessMemory().limited?.limitBytes;
  const bootstrap = JSON.stringify(
    envoyBootstrap(sidecar, {
      ...paths,
      ...(limitBytes === undefined ? {} : { memoryLimitBytes: limitBytes }),
    }),
  );
  // What stands there already needs no room: a restart works with a full disk.
  if (files.read("envoy.json")?.toString("utf8") !== bootstrap)
    files.write("envoy.json", bootstrap);
  const relay = new EnvoyRelay({
    feed: agent.feed,
    secrets: agent.secrets,
    clock,
    log: log.area("xds"),
  });
  const server = await startGrpcServer({
    listen: { path: paths.xdsSocket },
    methods: relay.methods(),
    keepalive: defaultGrpcKeepalive,
    clock,
    log: log.area("xds"),
  });
  relay.start();
  const { accessLogFile } = sidecar;
  const stdout = accessLogFile === "-" ? "inherit" : openSync(accessLogFile, "a", 0o600);
  const envoy = new EnvoyProcess({
    binary,
    bootstrapFile: files.path("envoy.json"),
    concurrency: 1,
    logLevel: sidecar.logLevel,
    stdout,
    clock,
    log: log.area("envoy"),
    linesLog: log.area(envoyLinesArea),
    metrics,
  });
  envoy.start();
  return new RunningEnvoy(options, { relay, server, envoy, stdout, ...paths });
}

interface EnvoyParts {
  readonly relay: EnvoyRelay;
  readonly server: GrpcServer;
  readonly envoy: EnvoyProcess;
  readonly stdout: number | "inherit";
  readonly adminSocket: string;
}

const drainPollMs = 200;
const quietMs = 1000;
const adminTimeoutMs = 5000;
const noTap =
  "Envoy keeps no records of single requests for others to read; its access log has a line for each: heddle logs --proxy --follow WORKLOAD\n";
const adminBytesMax = 64 * 1024 * 1024;

interface Traffic {
  readonly connections: number;
  /** Connections that are not HTTP. */
  readonly tunnels: number;
  /** In flight. */
  readonly requests: number;
  readonly requestsEver: number;
}

/** Nothing is in flight, and on connections that are still open nothing came for a second. */
class Quiet {
  #sinceMs: number | undefined;
  #requestsEver = 0;

  isReached(traffic: Traffic, nowMs: number): boolean {
    if (traffic.connections === 0) return true;
    const isStill =
      traffic.requests + traffic.tunnels === 0 && traffic.requestsEver === this.#requestsEver;
    this.#requestsEver = traffic.requestsEver;
    if (!isStill) this.#sinceMs = undefined;
    else this.#sinceMs ??= nowMs;
    return this.#sinceMs !== undefined && nowMs - this.#sinceMs >= quietMs;
  }
}

class RunningEnvoy implements EnvoyDataPlane {
  readonly admin: AdminHandler;
  readonly #parts: EnvoyParts;
  readonly #translator: StatsTranslator;
  readonly #metrics: OwnedMetricRegistry;
  readonly #log: Logger;
  readonly #clock: Clock;
  #isClosing = false;
  /** The process whose workers are known to listen. */
  #listeningPid: number | undefined;

  constructor({ agent, metrics, log, clock }: EnvoyOptions, parts: EnvoyParts) {
    this.#parts = parts;
    this.#metrics = metrics;
    this.#clock = clock;
    this.#log = log.area("envoy");
    this.#translator = new StatsTranslator(agent.peers, metrics);
    this.admin = async ({ method, path, query }) => {
      if (path === "/tap") return plainText(404, noTap);
      const text = query.toString();
      const asked = `${path}${text === "" ? "" : `?${text}`}`;
      const answer = await this.#ask(asked, method === "GET" ? "GET" : "POST");
      return { status: answer.status, contentType: answer.contentType, body: answer.text };
    };
  }

  get pid(): number | undefined {
    return this.#parts.envoy.pid;
  }

  async notReady(): Promise<string | undefined> {
    const { envoy, relay } = this.#parts;
    if (envoy.stopped !== undefined) return envoy.stopped;
    if (relay.unbound !== undefined) return relay.unbound;
    if (!relay.isConfigured) return "no configuration yet";
    try {
      const { status, text } = await this.#ask("/ready", "GET");
      if (status !== 200) return `envoy is ${text.trim()}`;
      return (await this.#listens()) ? undefined : "envoy does not accept connections yet";
    } catch (thrown) {
      return `envoy does not answer: ${messageOf(thrown)}`;
    }
  }

  async exposeMetrics(): Promise<string> {
    const own = this.#metrics.expose();
    try {
      const { text } = await this.#ask("/stats/prometheus?usedonly", "GET");
      return own + this.#translator.translate(text);
    } catch (thrown) {
      this.#log.warn("envoy's statistics cannot be read", { reason: messageOf(thrown) });
      return own;
    }
  }

  async drain(): Promise<void> {
    try {
      await this.#ask("/drain_listeners?graceful", "POST");
      const quiet = new Quiet();
      while (!this.#isClosing) {
        if (quiet.isReached(await this.#traffic(), this.#clock.monotonicMs())) return;
        await new Promise((resolve) => this.#clock.schedule(drainPollMs, () => resolve(undefined)));
      }
    } catch (thrown) {
      this.#log.warn("envoy does not drain", { reason: messageOf(thrown) });
    }
  }

  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    const { envoy, relay, server, stdout } = this.#parts;
    await envoy.stop(graceMs);
    relay.close();
    await server.close();
    if (stdout !== "inherit") closeSync(stdout);
  }

  /**
   * Envoy answers to listeners, and calls itself ready, while they wait for routes and secrets and
   * before its worker has them.
   */
  async #listens(): Promise<boolean> {
    const { pid } = this.#parts.envoy;
    if (pid !== undefined && pid === this.#listeningPid) return true;
    const names = "workers_started|total_listeners_warming|total_listeners_active|create_success";
    const found = await this.#statistics(`listener_manager\\.(listener_)?(${names})`);
    const of = (name: string): number => found.get(`listener_manager.${name}`) ?? 0;
    const isListening =
      of("workers_started") === 1 &&
      of("total_listeners_warming") === 0 &&
      of("listener_create_success") >= of("total_listeners_active");
    if (isListening) this.#listeningPid = pid;
    return isListening;
  }

  async #traffic(): Promise<Traffic> {
    const of = "downstream_(?:cx_active|rq_active|rq_total)";
    const found = await this.#statistics(`(?:server\\.total_connections|http\\..+\\.${of})`);
    const sum = (suffix: string): number =>
      [...found]
        .filter(([name]) => name.endsWith(suffix) && !name.startsWith("http.admin."))
        .reduce((total, [, value]) => total + value, 0);
    const connections = found.get("server.total_connections") ?? 0;
    return {
      connections,
      tunnels: Math.max(0, connections - sum(".downstream_cx_active")),
      requests: sum(".downstream_rq_active"),
      requestsEver: sum(".downstream_rq_total"),
    };
  }

  async #statistics(pattern: string): Promise<ReadonlyMap<string, number>> {
    const { text } = await this.#ask(`/stats?filter=^${encodeURIComponent(pattern)}$`, "GET");
    const lines = [...text.matchAll(/^(\S+): (\d+)$/gm)];
    return new Map(lines.map(([, name = "", value]) => [name, Number(value)]));
  }

  #ask(path: string, method: "GET" | "POST"): Promise<HttpResponse> {
    return requestHttp({
      url: `http://envoy${path}`,
      method,
      socketPath: this.#parts.adminSocket,
      timeoutMs: adminTimeoutMs,
      responseBytesMax: adminBytesMax,
    });
  }
}
