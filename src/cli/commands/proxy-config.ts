import { type Command, InvalidArgumentError, Option } from "commander";
import { RE2JS } from "re2js";

import type { ProxyStatus } from "../../console/api.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, type MeshApi, type MeshOptions } from "../mesh-api.ts";
import { formatOutput, type OutputFormat, outputOption, print, toYaml } from "../output.ts";
import { viewClusters } from "../proxy-config/clusters.ts";
import { parseConfigDump, type ProxyDump } from "../proxy-config/dump.ts";
import { viewEndpoints } from "../proxy-config/endpoints.ts";
import type { ViewFilter } from "../proxy-config/filter.ts";
import { viewListeners } from "../proxy-config/listeners.ts";
import { viewRoutes } from "../proxy-config/routes.ts";
import { formatPem, viewSecrets } from "../proxy-config/secrets.ts";
import type { View } from "../proxy-config/view.ts";
import { proxiesNamed } from "../proxy-name.ts";
import { formatTable } from "../table.ts";

interface Options extends MeshOptions, ViewFilter {
  readonly output: OutputFormat | "pem";
}

interface LiveOptions extends MeshOptions {
  readonly output: OutputFormat;
}

type ViewName = "listeners" | "routes" | "clusters" | "endpoints" | "secrets" | "all";
type FilterName = keyof ViewFilter;

const clusterFilters: readonly FilterName[] = [
  "fqdn",
  "port",
  "subset",
  "direction",
  "name",
  "cluster",
];

/** What each shows, and the filters that mean something there: others are refused, not ignored. */
const views: readonly (readonly [ViewName, string, readonly FilterName[]])[] = [
  ["listeners", "listeners and where their filter chains lead", ["port", "name"]],
  ["routes", "route tables with their virtual hosts", ["name"]],
  ["clusters", "clusters: services, subsets, ports", clusterFilters],
  ["endpoints", "endpoints as the proxy balances over them now", clusterFilters],
  ["secrets", "certificates: state, serial, validity, SPIFFE id", ["name"]],
  ["all", "listeners, routes, clusters, endpoints and secrets", clusterFilters],
];

const filterOptions: Readonly<Record<FilterName, () => Option>> = {
  fqdn: () => new Option("--fqdn <hostname>", "only this service"),
  port: () => new Option("--port <number>", "only this port").argParser(parsePort),
  subset: () => new Option("--subset <name>", "only this subset"),
  direction: () =>
    new Option("--direction <direction>", "inbound or outbound").argParser(parseDirection),
  name: () => new Option("--name <name>", "only the resource of this name"),
  cluster: () => new Option("--cluster <name>", "only this cluster"),
};

export function registerProxyConfigCommand(program: Command): void {
  const parent = program
    .command("proxy-config")
    .alias("pc")
    .description("show what a proxy runs with, as it says itself");
  for (const [name, description, filters] of views) {
    const command = proxyCommand(parent, name, description).addOption(
      name === "secrets" ? pemOutputOption() : outputOption(),
    );
    for (const filter of filters) command.addOption(filterOptions[filter]());
    command.action((proxy: string, options: Options) => showView(name, proxy, options));
  }
  proxyCommand(parent, "bootstrap", "what the proxy was started with")
    .addOption(outputOption())
    .action(async (proxy: string, options: Options) => {
      const dump = parseConfigDump(await adminText(connectToMesh(options), proxy, "config_dump"));
      const { bootstrap } = dump;
      console.log(
        options.output === "yaml" ? toYaml(bootstrap) : JSON.stringify(bootstrap, undefined, 2),
      );
    });
  registerLive(parent);
}

function registerLive(parent: Command): void {
  proxyCommand(parent, "log", "show log levels, or change them while the proxy runs")
    .option("--level <level>", "LEVEL for every logger, or LOGGER:LEVEL", parseLevel)
    .addOption(outputOption())
    .action(async (proxy: string, options: LiveOptions & { readonly level?: string }) => {
      const api = connectToMesh(options);
      const path = await adminPath(api, proxy, "logging");
      const text =
        options.level === undefined
          ? await api.getText(path)
          : await setLevel(api, path, options.level);
      print(options.output, levelsOf(text), () => text);
    });
  proxyCommand(parent, "stats", "counters, gauges and histograms")
    .option("--filter <regex>", "only names that match", parseFilter)
    .addOption(outputOption())
    .action(async (proxy: string, options: LiveOptions & { readonly filter?: string }) => {
      const all = await adminText(connectToMesh(options), proxy, "metrics");
      const series = seriesOf(all, options.filter);
      print(options.output, Object.fromEntries(series), () =>
        series.map(([name, value]) => `${name}: ${value}`).join("\n"),
      );
    });
  proxyCommand(parent, "memory", "memory the proxy uses")
    .addOption(outputOption())
    .action(async (proxy: string, options: LiveOptions) => {
      const text = await adminText(connectToMesh(options), proxy, "memory");
      const figures: Readonly<Record<string, unknown>> = JSON.parse(text);
      print(options.output, figures, () =>
        formatTable(
          ["MEMORY", "BYTES"],
          Object.entries(figures).map(([name, bytes]) => [name, String(bytes)]),
        ),
      );
    });
}

/** What follows the first line of a refusal is the usage of the admin interface, not of this command. */
async function setLevel(api: MeshApi, path: string, level: string): Promise<string> {
  try {
    return await api.postText(`${path}?${levelQuery(level)}`);
  } catch (thrown) {
    if (!(thrown instanceof CommandFailure) || thrown.exitCode !== exitCodes.findings) throw thrown;
    const [reason = ""] = thrown.message.split("\n", 1);
    throw new CommandFailure(thrown.exitCode, `the proxy refuses --level ${level}: ${reason}`, {
      cause: thrown,
    });
  }
}

function proxyCommand(parent: Command, name: string, description: string): Command {
  return addMeshOptions(parent.command(name))
    .argument("<proxy>", "WORKLOAD or INSTANCE, also with .NAMESPACE or NAMESPACE/")
    .description(description);
}

function pemOutputOption(): Option {
  return new Option("-o, --output <format>", "how to print the answer; pem: the certificates")
    .choices(["table", "json", "yaml", "pem"])
    .default("table");
}

async function showView(name: ViewName, proxy: string, options: Options): Promise<void> {
  const api = connectToMesh(options);
  const dump = parseConfigDump(await adminText(api, proxy, "config_dump?include_eds"));
  if (options.output === "pem") {
    console.log(formatPem(dump, options));
    return;
  }
  const format = options.output;
  const shown: Exclude<ViewName, "all">[] =
    name === "all" ? ["listeners", "routes", "clusters", "endpoints", "secrets"] : [name];
  const built = new Map<string, View>();
  for (const one of shown) built.set(one, await viewOf(one, api, proxy, dump, options));
  const json: unknown =
    name === "all"
      ? Object.fromEntries([...built].map(([key, view]) => [key, view.json]))
      : built.get(name)?.json;
  console.log(
    formatOutput(format, json, () =>
      [...built]
        .map(([key, view]) =>
          view.rows.length === 0 ? `no ${key}` : formatTable(view.head, view.rows),
        )
        .join("\n\n"),
    ),
  );
}

// oxlint-disable-next-line max-params -- one call site, and each is what a view may need
async function viewOf(
  name: Exclude<ViewName, "all">,
  api: MeshApi,
  proxy: string,
  dump: ProxyDump,
  filter: ViewFilter,
): Promise<View> {
  switch (name) {
    case "listeners":
      return viewListeners(dump, filter);
    case "routes":
      return viewRoutes(dump, filter);
    case "clusters":
      return viewClusters(dump, filter);
    case "endpoints":
      return viewEndpoints(await adminText(api, proxy, "clusters?format=json"), filter);
    case "secrets":
      return viewSecrets(dump, filter, Date.now());
  }
}

async function adminText(api: MeshApi, proxy: string, path: string): Promise<string> {
  return api.getText(await adminPath(api, proxy, path));
}

/** The API's path of one proxy; of a workload of several instances the first is taken, and told. */
async function adminPath(api: MeshApi, name: string, path: string): Promise<string> {
  const [first, ...others] = proxiesNamed(await api.get<ProxyStatus[]>("/api/proxies"), name);
  const proxy = first?.proxy ?? name;
  if (others.length > 0 && !told.has(proxy)) {
    told.add(proxy);
    // Beside the answer, which may go to a program.
    console.error(
      `this is ${proxy}; for another name one of ${others.map((one) => one.proxy).join(", ")}`,
    );
  }
  return `/api/proxies/${encodeURIComponent(proxy)}/${path}`;
}

/** A view may ask several times. */
const told = new Set<string>();

/** Envoy's levels, which both data planes take. */
const levels = ["trace", "debug", "info", "warning", "warn", "error", "critical", "off"];

function parseLevel(text: string): string {
  const level = text.slice(text.lastIndexOf(":") + 1);
  if (levels.includes(level) && !text.startsWith(":")) return text;
  throw new InvalidArgumentError(`Write LEVEL or LOGGER:LEVEL, with one of ${levels.join(", ")}.`);
}

function parseFilter(text: string): string {
  try {
    RE2JS.compile(text);
  } catch {
    throw new InvalidArgumentError("It is no RE2 expression.");
  }
  return text;
}

function parseDirection(text: string): string {
  if (text === "inbound" || text === "outbound") return text;
  throw new InvalidArgumentError("Write inbound or outbound.");
}

function parsePort(text: string): string {
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65535) return text;
  throw new InvalidArgumentError("Write a number from 0 to 65535.");
}

/** `  http: info` of each line, by logger. */
function levelsOf(text: string): Readonly<Record<string, string>> {
  const pairs = [...text.matchAll(/^ +(\S+): (\w+)$/gm)];
  return Object.fromEntries(pairs.map(([, logger = "", level = ""]) => [logger, level]));
}

/** `name{labels}` and its value of what the filter finds: Prometheus' names, whichever the data plane. */
function seriesOf(
  exposition: string,
  filter: string | undefined,
): readonly (readonly [name: string, value: string])[] {
  const pattern = filter === undefined ? undefined : RE2JS.compile(filter);
  return exposition.split("\n").flatMap((line) => {
    if (line === "" || line.startsWith("#")) return [];
    const end = line.lastIndexOf(" ");
    const name = line.slice(0, end);
    if (pattern !== undefined && !pattern.matcher(name).find()) return [];
    return [[name, line.slice(end + 1)]];
  });
}

/** `debug` → `level=debug`, `http:debug` → `http=debug`: the parameters of Envoy's `/logging`. */
function levelQuery(text: string): string {
  const [logger = "", level = ""] = text.includes(":") ? text.split(":", 2) : ["level", text];
  return new URLSearchParams({ [logger]: level === "warn" ? "warning" : level }).toString();
}
