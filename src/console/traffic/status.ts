import type { Clock } from "../../base/clock.ts";
import type { ControlPlane, ProxyStatus } from "../../control/control-view.ts";
import type { Health, MetricsHealth, ServiceSummary, StatusAnswer, Traffic } from "../api.ts";
import { type Flow, mtlsFraction, trafficOf, worstHealth } from "./flow.ts";
import { serviceSummaries } from "./services.ts";

export interface StatusInput {
  readonly mesh: string;
  readonly version: string;
  readonly controlPlane: ControlPlane;
  readonly clock: Clock;
  readonly metricsHealth: MetricsHealth;
  readonly flows: readonly Flow[];
  readonly windowMs: number;
  readonly limitations: () => readonly string[];
  readonly consoleAddress: () => StatusAnswer["console"];
}

export function statusOf(input: StatusInput): StatusAnswer {
  const { controlPlane, flows, windowMs } = input;
  const workloads = controlPlane.workloads();
  const services = serviceSummaries(workloads, flows, windowMs);
  const instances = workloads?.instances ?? [];
  const problems = controlPlane.problems();
  const errors = problems.filter(({ severity }) => severity === "error").length;
  const proxies = countProxies(controlPlane.proxies());
  const isTroubled = errors > 0 || proxies.refused > 0 || proxies.disconnected > 0;
  const traffic = trafficOf(flows);
  const health = worstHealth([
    ...services.map((service) => service.health),
    isTroubled ? "degraded" : "idle",
  ]);
  return {
    mesh: input.mesh,
    version: input.version,
    atMs: input.clock.nowMs(),
    console: input.consoleAddress(),
    health,
    sentence: sentenceOf(services, traffic, input.metricsHealth),
    traffic,
    services: { total: services.length, healthy: services.filter(isFine).length },
    workloads: {
      total: instances.length,
      ready: instances.filter(({ state }) => state === "ready").length,
    },
    proxies,
    problems: { errors, warnings: problems.length - errors },
    mtlsFraction: mtlsFraction(flows),
    authority: controlPlane.authority(),
    metrics: input.metricsHealth,
    limitations: input.limitations(),
  };
}

/** Synced: connected, and nothing sent is waiting for an answer or was refused. */
export function isSynced({ connection, types, refusals }: ProxyStatus): boolean {
  return (
    connection.kind === "connected" &&
    refusals.length === 0 &&
    types.every(({ state }) => state === "synced" || state === "idle")
  );
}

function countProxies(proxies: readonly ProxyStatus[]): StatusAnswer["proxies"] {
  return {
    total: proxies.length,
    synced: proxies.filter(isSynced).length,
    refused: proxies.filter(({ refusals }) => refusals.length > 0).length,
    disconnected: proxies.filter(({ connection }) => connection.kind !== "connected").length,
  };
}

function isFine({ health }: { readonly health: Health }): boolean {
  return health === "healthy" || health === "idle";
}

/** The mesh in one line; messages and bytes where there are any. */
export function sentenceOf(
  services: readonly Pick<ServiceSummary, "health">[],
  traffic: Traffic,
  { failure }: Pick<MetricsHealth, "failure">,
): string {
  if (services.length === 0) return "nothing runs yet";
  if (failure !== undefined) {
    const noun = services.length === 1 ? "service" : "services";
    return `${services.length} ${noun}, no figures: the metrics cannot be read`;
  }
  const parts = [
    `${services.filter(isFine).length} of ${services.length} services healthy`,
    `${formatRate(traffic.requestsPerSecond)} req/s`,
  ];
  if (traffic.requestsPerSecond > 0) {
    parts.push(`${(traffic.errorFraction * 100).toFixed(1)}% errors`);
  }
  if (traffic.p99Ms !== undefined) parts.push(`p99 ${Math.round(traffic.p99Ms)} ms`);
  const messages = traffic.requestMessagesPerSecond + traffic.responseMessagesPerSecond;
  if (messages > 0) parts.push(`${formatRate(messages)} gRPC messages/s`);
  const bytes = traffic.tcpSentBytesPerSecond + traffic.tcpReceivedBytesPerSecond;
  if (bytes > 0) parts.push(`${formatBytes(bytes)}/s over TCP and UDP`);
  return parts.join(", ");
}

const units = ["B", "kB", "MB", "GB"] as const;

function formatBytes(bytes: number): string {
  const steps = Math.max(0, Math.floor(Math.log10(bytes) / 3));
  const unit = Math.min(steps, units.length - 1);
  return `${formatRate(bytes / 1000 ** unit)} ${units[unit] ?? "B"}`;
}

function formatRate(rate: number): string {
  return rate >= 10 || rate === 0 ? String(Math.round(rate)) : rate.toFixed(1);
}
