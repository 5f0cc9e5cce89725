import type { Command } from "commander";

import { formatProblem } from "../../base/problem.ts";
import type {
  ConfigAnswer,
  ProxyStatus,
  ServiceSummary,
  StatusAnswer,
  WorkloadSummary,
} from "../../console/api.ts";
import { consoleUrl, readConsoleToken } from "../../local/console-token.ts";
import { leaseHolder } from "../../local/lease.ts";
import { lastWordsOfControl } from "../control-last-words.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, meshFolder, type MeshOptions } from "../mesh-api.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";
import {
  askSidecars,
  configurationAge,
  formatSidecars,
  type SidecarStatus,
} from "../sidecar-status.ts";
import { formatAge, formatTable } from "../table.ts";
import { formatRefusal } from "./proxy-status.ts";

interface Options extends MeshOptions {
  readonly output: OutputFormat;
}

/** Everything `heddle status` shows; also its JSON. */
interface Status {
  readonly status: StatusAnswer;
  readonly workloads: readonly WorkloadSummary[];
  readonly proxies: readonly ProxyStatus[];
  readonly problems: ConfigAnswer["problems"];
  /** Proxies that the control plane does not hear, asked themselves. */
  readonly unheard: readonly SidecarStatus[];
  /** Services with errors, or without a ready instance; empty also where nobody can tell. */
  readonly unhealthy: readonly ServiceSummary[];
  /** The address that opens the console, with its token. */
  readonly consoleUrl: string | undefined;
}

export function registerStatusCommand(program: Command): void {
  addMeshOptions(program.command("status"))
    .description("show what runs, what is wrong, and what this mode cannot enforce")
    .addOption(outputOption())
    .action(async (options: Options) => {
      try {
        await showStatus(options);
      } catch (thrown) {
        if (!isSilent(thrown) || leaseHolder(meshFolder(options)) === undefined) throw thrown;
        await showSidecars(options, thrown.message);
      }
    });
}

async function showStatus(options: Options): Promise<void> {
  const api = connectToMesh(options);
  const [status, workloads, proxies, config] = await Promise.all([
    api.get<StatusAnswer>("/api/status"),
    api.get<WorkloadSummary[]>("/api/workloads"),
    api.get<ProxyStatus[]>("/api/proxies"),
    api.get<ConfigAnswer>("/api/config"),
  ]);
  // Of a metrics store that does not answer, the sentence of the status speaks.
  const services = await api.get<ServiceSummary[]>("/api/services").catch(() => []);
  const lost = proxies.filter((proxy) => proxy.connection.kind !== "connected");
  const names = new Set(lost.map((proxy) => proxy.proxy));
  const asked = names.size === 0 ? [] : await askSidecars(meshFolder(options));
  const unheard = asked.filter(({ instance }) => names.has(instance));
  const shown: Status = {
    status,
    workloads,
    proxies,
    problems: config.problems,
    unheard,
    unhealthy: services.filter(({ health }) => health === "degraded" || health === "failing"),
    consoleUrl: consoleUrlOf(status, meshFolder(options)),
  };
  print(options.output, shown, () => formatStatus(shown));
  process.exitCode = hasFindings(shown) ? exitCodes.findings : exitCodes.fine;
}

function consoleUrlOf({ console }: StatusAnswer, stateDir: string): string | undefined {
  const token = readConsoleToken(stateDir);
  return console === undefined || token === undefined ? undefined : consoleUrl(console, token);
}

function isSilent(thrown: unknown): thrown is CommandFailure {
  return thrown instanceof CommandFailure && thrown.exitCode === exitCodes.unreachable;
}

/** The mesh runs, but nobody answers for it: its sidecars say what they know. */
async function showSidecars(options: Options, reason: string): Promise<void> {
  const folder = meshFolder(options);
  const sidecars = await askSidecars(folder);
  const lastWords = lastWordsOfControl(folder);
  const controlPlane = { reason, ...(lastWords === undefined ? {} : { lastWords }) };
  const sentence = "the control plane does not answer; proxies go on with what they have";
  print(options.output, { controlPlane, sidecars }, () =>
    [
      lastWords === undefined ? sentence : `${sentence}\nit ended with: ${lastWords}`,
      formatSidecars(sidecars, Date.now()),
    ].join("\n\n"),
  );
  process.exitCode = exitCodes.findings;
}

function hasFindings({ status, proxies, problems, workloads }: Status): boolean {
  return (
    status.metrics.failure !== undefined ||
    problems.some((problem) => problem.severity === "error") ||
    proxies.some((proxy) => proxy.refusals.length > 0 || proxy.connection.kind !== "connected") ||
    workloads.some((workload) => workload.state !== "ready")
  );
}

export function formatStatus(shown: Status): string {
  const { status, proxies, problems } = shown;
  const parts = [`mesh ${status.mesh}: ${status.sentence}${formatUnhealthy(shown.unhealthy)}`];
  if (shown.consoleUrl !== undefined) parts.push(`console ${shown.consoleUrl}`);
  parts.push(formatWorkloads(shown));
  const refusals = proxies.flatMap((proxy) => proxy.refusals);
  if (refusals.length > 0) {
    parts.push(refusals.map(formatRefusal).join("\n"));
  }
  // Refusals are problems too, and stand above in their own words.
  const others = problems.filter(({ code }) => code !== "xds.refused");
  if (others.length > 0) parts.push(others.map(formatProblem).join("\n"));
  if (status.metrics.failure !== undefined) {
    parts.push(`metrics: ${status.metrics.failure}; the mesh itself goes on without them`);
  }
  if (status.limitations.length > 0) {
    parts.push(status.limitations.map((sentence) => `note: ${sentence}`).join("\n"));
  }
  const { rootNotAfterMs, trustDomain } = status.authority;
  parts.push(
    `identity: trust domain ${trustDomain}, root certificate expires in ${formatAge(rootNotAfterMs - status.atMs)}`,
  );
  return parts.join("\n\n");
}

/** A line for each: `  failing: cart.default, 12.5% errors, 0 of 1 ready`. */
export function formatUnhealthy(
  services: readonly Pick<
    ServiceSummary,
    "name" | "namespace" | "health" | "traffic" | "instances"
  >[],
): string {
  return services
    .map(({ name, namespace, health, traffic, instances }) => {
      const { errorFraction } = traffic;
      const reasons = [
        ...(errorFraction > 0 ? [`${(errorFraction * 100).toFixed(1)}% errors`] : []),
        ...(instances.ready < instances.total
          ? [`${instances.ready} of ${instances.total} ready`]
          : []),
      ];
      return `\n  ${health}: ${[`${name}.${namespace}`, ...reasons].join(", ")}`;
    })
    .join("");
}

function formatWorkloads({ status, workloads, proxies, unheard }: Status): string {
  const byName = new Map(proxies.map((proxy) => [proxy.proxy, proxy]));
  const isExplicit = workloads.some((workload) => workload.capture === "explicit");
  const rows = workloads.map((workload) => {
    const name = `${workload.instance}.${workload.namespace}`;
    const proxy = byName.get(name);
    const agent = unheard.find(({ instance }) => instance === name)?.agent;
    const age = agent === undefined ? "" : `, ${configurationAge(agent, status.atMs)}`;
    return [
      workload.namespace,
      workload.instance,
      workload.detail === undefined ? workload.state : `${workload.state} (${workload.detail})`,
      String(workload.restarts),
      workload.addresses[0] ?? "-",
      `${workload.dataPlane} ${proxy === undefined ? "unknown" : syncState(proxy)}${age}`,
      ...(isExplicit
        ? [`${workload.sidecarPorts.outbound}`, `${workload.sidecarPorts.inbound}`]
        : []),
    ];
  });
  const head = ["NAMESPACE", "INSTANCE", "STATE", "RESTARTS", "ADDRESS", "PROXY"];
  return formatTable(isExplicit ? [...head, "OUTBOUND", "INBOUND"] : head, rows);
}

/** One word for how far a proxy is: `synced`, `pending`, `refused`, `disconnected`. */
export function syncState(proxy: ProxyStatus): string {
  if (proxy.refusals.length > 0) return "refused";
  if (proxy.connection.kind !== "connected") return "disconnected";
  return proxy.types.some((type) => type.state === "pending") ? "pending" : "synced";
}
