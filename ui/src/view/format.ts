/** Numbers as people read them: short, of steady width, with their unit. */
import type { Health, MtlsState, Traffic } from "../../../src/console/api.ts";

export function formatRate(rate: number): string {
  if (rate === 0) return "0";
  if (rate < 0.01) return "<0.01";
  if (rate < 10) return trim(rate.toFixed(rate < 1 ? 2 : 1));
  return rate < 1000 ? String(Math.round(rate)) : `${trim((rate / 1000).toFixed(1))}k`;
}

export function formatPercent(fraction: number): string {
  const percent = fraction * 100;
  if (percent === 0) return "0%";
  if (percent < 0.1) return "<0.1%";
  return `${trim(percent.toFixed(percent < 10 ? 1 : 0))}%`;
}

export function formatMs(ms: number | undefined): string {
  if (ms === undefined) return "–";
  if (ms < 1) return "<1 ms";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return `${trim((ms / 1000).toFixed(ms < 10_000 ? 1 : 0))} s`;
}

export function formatBytes(bytes: number): string {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let value = bytes;
  let unit = "B";
  for (const next of units) {
    if (value < 1000) break;
    value /= 1000;
    unit = next;
  }
  return `${trim(value.toFixed(value < 10 ? 1 : 0))} ${unit}`;
}

export function formatAge(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

/** `1 problem`, `2 problems`. */
export function plural(count: number, noun: string): string {
  return `${count} ${count === 1 ? noun : `${noun}s`}`;
}

/** Bytes that nobody reads as requests. */
export function isOpaque(protocol: string | undefined): boolean {
  return protocol === "tcp" || protocol === "udp";
}

/** Of gRPC, both ways. */
export function messagesPerSecond(traffic: Traffic): number {
  return traffic.requestMessagesPerSecond + traffic.responseMessagesPerSecond;
}

/** One line for an edge: what flows, how much of it fails, how slow. */
export function edgeLabel(traffic: Traffic, protocol: string): string {
  if (isOpaque(protocol)) {
    return `${formatBytes(traffic.tcpSentBytesPerSecond + traffic.tcpReceivedBytesPerSecond)}/s`;
  }
  if (traffic.requestsPerSecond === 0) return "idle";
  const parts = [`${formatRate(traffic.requestsPerSecond)}/s`];
  if (traffic.errorFraction > 0) parts.push(formatPercent(traffic.errorFraction));
  const messages = messagesPerSecond(traffic);
  // Of calls that stream, how long they took says little.
  if (messages > 2.2 * traffic.requestsPerSecond) parts.push(`${formatRate(messages)} msg/s`);
  else if (traffic.p95Ms !== undefined) parts.push(formatMs(traffic.p95Ms));
  return parts.join(" · ");
}

/** The same for who listens instead of looking. */
export function edgeSentence(traffic: Traffic, protocol: string): string {
  if (isOpaque(protocol)) {
    const bytes = traffic.tcpSentBytesPerSecond + traffic.tcpReceivedBytesPerSecond;
    return `${formatBytes(bytes)} per second over ${protocol.toUpperCase()}`;
  }
  if (traffic.requestsPerSecond === 0) return "no requests";
  const parts = [
    `${formatRate(traffic.requestsPerSecond)} requests per second`,
    `${formatPercent(traffic.errorFraction)} errors`,
  ];
  if (traffic.p95Ms !== undefined) parts.push(`95th percentile ${formatMs(traffic.p95Ms)}`);
  const messages = messagesPerSecond(traffic);
  if (messages > 0) parts.push(`${formatRate(messages)} messages per second`);
  return parts.join(", ");
}

export const healthWords: Readonly<Record<Health, string>> = {
  idle: "idle",
  healthy: "healthy",
  degraded: "degraded",
  failing: "failing",
};

export const mtlsWords: Readonly<Record<MtlsState, string>> = {
  mutual: "mutual TLS",
  plaintext: "plaintext",
  mixed: "mutual TLS and plaintext",
  unknown: "mutual TLS not known",
};

/** Envoy's response flags in words. */
const flagWords: Readonly<Record<string, string>> = {
  UH: "no healthy upstream",
  UF: "could not connect",
  UO: "circuit breaker open",
  NR: "no route",
  NC: "no such cluster",
  URX: "retries used up",
  UT: "upstream timed out",
  UC: "upstream closed the connection",
  UR: "upstream reset",
  DC: "client left",
  FI: "fault injected",
  DI: "delay injected",
  RL: "rate limited",
  UAEX: "denied by external authorization",
  DPE: "client broke the protocol",
  UPE: "upstream broke the protocol",
};

export function flagsInWords(flags: string): string {
  return flags
    .split(",")
    .map((flag) => flagWords[flag] ?? flag)
    .join(", ");
}

function trim(text: string): string {
  return text.replace(/\.0+$/, "");
}
