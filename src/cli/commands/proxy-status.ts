import type { Command } from "commander";

import type { ProxyStatus } from "../../console/api.ts";
import { exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, type MeshOptions } from "../mesh-api.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";
import { proxiesNamed } from "../proxy-name.ts";
import { formatAge, formatTable } from "../table.ts";

interface Options extends MeshOptions {
  readonly output: OutputFormat;
}

const labels = ["LDS", "RDS", "CDS", "EDS"];

export function registerProxyStatusCommand(program: Command): void {
  addMeshOptions(program.command("proxy-status"))
    .alias("ps")
    .argument("[proxy]", "WORKLOAD, INSTANCE.NAMESPACE or NAMESPACE/INSTANCE; all without it")
    .description("show which configuration each proxy has acknowledged or refused")
    .addOption(outputOption())
    .action(async (name: string | undefined, options: Options) => {
      const all = await connectToMesh(options).get<ProxyStatus[]>("/api/proxies");
      const proxies = name === undefined ? all : proxiesNamed(all, name);
      print(options.output, proxies, () => formatProxyStatus(proxies, Date.now()));
      const fine = proxies.every(
        (proxy) => proxy.refusals.length === 0 && proxy.connection.kind === "connected",
      );
      process.exitCode = fine ? exitCodes.fine : exitCodes.findings;
    });
}

export function formatProxyStatus(proxies: readonly ProxyStatus[], nowMs: number): string {
  const rows = proxies.map((proxy) => [
    proxy.proxy,
    proxy.dataPlane,
    ...labels.map((label) => typeCell(proxy, label, nowMs)),
    connectionCell(proxy, nowMs),
  ]);
  const table = formatTable(["PROXY", "DATA PLANE", ...labels, "CONNECTION"], rows);
  const refusals = proxies.flatMap((proxy) => proxy.refusals).map(formatRefusal);
  return refusals.length === 0 ? table : `${table}\n\n${refusals.join("\n")}`;
}

function typeCell(proxy: ProxyStatus, label: string, nowMs: number): string {
  const type = proxy.types.find((other) => other.label === label);
  if (type === undefined) return "-";
  if (type.ackedAtMs === undefined) return type.state;
  return `${type.state} (${formatAge(nowMs - type.ackedAtMs)})`;
}

function connectionCell({ connection }: ProxyStatus, nowMs: number): string {
  switch (connection.kind) {
    case "connected":
      return `${connection.protocol} for ${formatAge(nowMs - connection.sinceMs)}`;
    case "disconnected":
      return `lost ${formatAge(nowMs - connection.sinceMs)} ago: ${connection.reason}`;
    case "never":
      return "never connected";
  }
}

/** Proxy, resources, the files they were made from, and the proxy's own reason. */
export function formatRefusal(refusal: ProxyStatus["refusals"][number]): string {
  const places = refusal.origins.map(({ ref, source }) =>
    source === undefined
      ? `${ref.kind} ${ref.namespace}/${ref.name}`
      : `${source.file}:${source.line} (${ref.kind} ${ref.namespace}/${ref.name})`,
  );
  const from = places.length === 0 ? "" : `, made from ${places.join(", ")}`;
  return `${refusal.proxy} refused ${refusal.label} ${refusal.resources.join(", ")}${from}: ${refusal.reason}`;
}
