import type { Command } from "commander";

import type { LogPiece, WorkloadSummary } from "../../console/api.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, type MeshApi, type MeshOptions } from "../mesh-api.ts";
import { type OutputFormat, outputOption, toYaml } from "../output.ts";

interface Options extends MeshOptions {
  readonly output: OutputFormat;
  readonly proxy: boolean;
  readonly follow: boolean;
  readonly tail: string;
}

const followEveryMs = 500;

export function registerLogsCommand(program: Command): void {
  addMeshOptions(program.command("logs"))
    .argument("<workload>", "workload or instance")
    .description("print what a workload, or its sidecar, has written")
    .option("--proxy", "the sidecar's log and access log instead of the application's", false)
    .option("-f, --follow", "go on with what is written from now on", false)
    .option("--tail <lines>", "how many lines of each instance", "200")
    .addOption(outputOption())
    .action(async (workload: string, options: Options) => {
      const lines = Number(options.tail);
      if (!Number.isInteger(lines) || lines < 0 || lines > 100_000) {
        throw new CommandFailure(exitCodes.usage, `--tail ${options.tail} is not 0 to 100000`);
      }
      const api = connectToMesh(options);
      if (options.follow) await follow(api, workload, options, lines);
      else await showTail(api, workload, options, lines);
    });
}

interface LogLine {
  readonly instance: string;
  readonly line: string;
}

async function showTail(
  api: MeshApi,
  workload: string,
  options: Options,
  lines: number,
): Promise<void> {
  const instances = await instancesOf(api, workload);
  const query = `lines=${lines}&stream=${streamOf(options)}`;
  const texts = await Promise.all(
    instances.map((instance) => api.getText(`${pathOf(instance)}?${query}`)),
  );
  const shown = texts.flatMap((text, at) => linesOf(instances[at] ?? "", text));
  printLines(shown, options.output, instances.length > 1);
}

/** Until it is interrupted, or the mesh ends; instances that are added are followed, too. */
async function follow(
  api: MeshApi,
  workload: string,
  options: Options,
  lines: number,
): Promise<never> {
  const positions = new Map<string, string>();
  let instances = await instancesOf(api, workload);
  for (let isFirst = true; ; isFirst = false) {
    for (const instance of instances) {
      const known = positions.get(instance) ?? (isFirst ? undefined : startPosition);
      const from = known === undefined ? `lines=${lines}` : `position=${known}`;
      const path = `${pathOf(instance)}/follow?${from}&stream=${streamOf(options)}`;
      // oxlint-disable-next-line no-await-in-loop -- a handful over a Unix socket, in order
      const { text, position } = await api.get<LogPiece>(path);
      positions.set(instance, position);
      printLines(linesOf(instance, text), options.output, instances.length > 1);
    }
    await new Promise((resolve) => setTimeout(resolve, followEveryMs));
    instances = (await api.get<WorkloadSummary[]>("/api/workloads"))
      .filter((one) => isNamed(one, workload))
      .map(nameOf);
  }
}

/** Before the first line of any file. */
const startPosition = "0:0";

function streamOf({ proxy }: Options): "proxy" | "app" {
  return proxy ? "proxy" : "app";
}

function pathOf(instance: string): string {
  return `/api/logs/${encodeURIComponent(instance)}`;
}

function linesOf(instance: string, text: string): readonly LogLine[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => ({ instance, line }));
}

function nameOf({ instance, namespace }: WorkloadSummary): string {
  return `${instance}.${namespace}`;
}

/** `WORKLOAD` or `INSTANCE`, alone, before `.NAMESPACE` or after `NAMESPACE/`. */
function isNamed({ workload, instance, namespace }: WorkloadSummary, name: string): boolean {
  return [workload, instance].some(
    (one) => name === one || name === `${one}.${namespace}` || name === `${namespace}/${one}`,
  );
}

async function instancesOf(api: MeshApi, name: string): Promise<readonly string[]> {
  const workloads = await api.get<WorkloadSummary[]>("/api/workloads");
  const found = workloads.filter((one) => isNamed(one, name));
  if (found.length === 0) {
    const known = [...new Set(workloads.map((one) => one.workload))].join(", ");
    throw new CommandFailure(
      exitCodes.findings,
      `there is no workload ${name}; there are ${known}`,
    );
  }
  return found.map(nameOf);
}

function printLines(
  lines: readonly LogLine[],
  format: OutputFormat,
  hasSeveralInstances: boolean,
): void {
  for (const line of lines) {
    if (format === "json") console.log(JSON.stringify(line));
    else if (format === "yaml") console.log(toYaml([line]));
    else console.log(hasSeveralInstances ? `${line.instance}  ${line.line}` : line.line);
  }
}
