/**
 * Asks the sidecars of a mesh themselves, through their admin sockets: what `status` knows while the
 * control plane is down, and how old the configuration of a proxy is that lost it.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import type { AgentStatus } from "../agent/agent-status.ts";
import type { SidecarOptions } from "../base/sidecar-options.ts";
import { requestHttp } from "../net/http-request.ts";
import { formatAge, formatTable } from "./table.ts";

export interface SidecarStatus {
  /** `cart-0.default`. */
  readonly instance: string;
  /** Absent when it does not answer. */
  readonly agent?: AgentStatus;
}

const timeoutMs = 2000;
const responseBytesMax = 64 * 1024;

/** By name; empty where no sidecar was ever started. */
export async function askSidecars(stateDir: string): Promise<readonly SidecarStatus[]> {
  const folders = foldersOf(join(stateDir, "i"));
  const asked = await Promise.all(folders.map(async (folder) => await askSidecar(folder)));
  return asked
    .flatMap((one) => (one === undefined ? [] : [one]))
    .toSorted((a, b) => (a.instance < b.instance ? -1 : 1));
}

async function askSidecar(folder: string): Promise<SidecarStatus | undefined> {
  const instance = instanceOf(folder);
  if (instance === undefined) return undefined;
  try {
    const { status, text } = await requestHttp({
      url: "http://sidecar/agent",
      socketPath: join(folder, "admin.sock"),
      timeoutMs,
      responseBytesMax,
    });
    if (status !== 200) return { instance };
    const agent: AgentStatus = JSON.parse(text); // our own process, over a socket of mode 0600
    return { instance, agent };
  } catch {
    return { instance }; // shown as not answering
  }
}

/** `ready`, or why not; then how old the configuration is and how long the certificate lives. */
export function formatSidecars(sidecars: readonly SidecarStatus[], nowMs: number): string {
  const rows = sidecars.map(({ instance, agent }) => {
    if (agent === undefined) return [instance, "does not answer", "-", "-"];
    const { notReady, certificateNotAfterMs } = agent;
    const certificate =
      certificateNotAfterMs === undefined
        ? "none"
        : certificateNotAfterMs < nowMs
          ? `expired ${formatAge(nowMs - certificateNotAfterMs)} ago (${new Date(certificateNotAfterMs).toISOString()})`
          : `expires in ${formatAge(certificateNotAfterMs - nowMs)}`;
    return [instance, notReady ?? "ready", configurationAge(agent, nowMs), certificate];
  });
  return formatTable(["INSTANCE", "SIDECAR", "CONFIGURATION", "CERTIFICATE"], rows);
}

/**
 * `current`, `no configuration yet`, `configuration of 12s ago, accepted 3h ago`: until when a control
 * plane stood behind it, and when it last changed.
 */
export function configurationAge(agent: AgentStatus, nowMs: number): string {
  const { stream, confirmedAtMs, acceptedAtMs } = agent;
  if (stream.kind === "connected") return "current";
  if (confirmedAtMs === undefined) return "no configuration yet";
  const age = `configuration of ${formatAge(nowMs - confirmedAtMs)} ago`;
  const isOlder = acceptedAtMs !== undefined && confirmedAtMs - acceptedAtMs > 5000;
  return isOlder ? `${age}, accepted ${formatAge(nowMs - acceptedAtMs)} ago` : age;
}

function instanceOf(folder: string): string | undefined {
  try {
    const { instance }: SidecarOptions = JSON.parse(
      readFileSync(join(folder, "options.json"), "utf8"),
    );
    return `${instance.name}.${instance.namespace}`;
  } catch {
    return undefined; // no sidecar was started here
  }
}

function foldersOf(folder: string): readonly string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name));
  } catch {
    return [];
  }
}
