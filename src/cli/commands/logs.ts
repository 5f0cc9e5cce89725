import type { Command } from "commander";

import type { WorkloadSummary } from "../../console/api.ts";
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
      const instances = await instancesOf(api, workload);
      const read = () => readAll(api, instances, options, lines);
      let shown = await read();
      printLines(shown, options.output);
      while (options.follow) {
        await new Promise((resolve) => setTimeout(resolve, followEveryMs));
        const next = await read();
        printLines(newLines(shown, next), options.output);
        shown = next;
      }
    });
}

interface LogLine {
  readonly instance: string;
  readonly line: string;
}

async function instancesOf(api: MeshApi, name: string): Promise<readonly string[]> {
  const workloads = await api.get<WorkloadSummary[]>("/api/workloads");
  const found = workloads.filter(
    (one) =>
      one.workload === name ||
      one.instance === name ||
      `${one.instance}.${one.namespace}` === name ||
      `${one.namespace}/${one.instance}` === name,
  );
  if (found.length === 0) {
    const known = [...new Set(workloads.map((one) => one.workload))].join(", ");
    throw new CommandFailure(
      exitCodes.findings,
      `there is no workload ${name}; there are ${known}`,
    );
  }
  return found.map((one) => `${one.instance}.${one.namespace}`);
}

async function readAll(
  api: MeshApi,
  instances: readonly string[],
  options: Options,
  lines: number,
): Promise<readonly LogLine[]> {
  const stream = options.proxy ? "proxy" : "app";
  const texts = await Promise.all(
    instances.map((instance) =>
      api.getText(`/api/logs/${encodeURIComponent(instance)}?lines=${lines}&stream=${stream}`),
    ),
  );
  return texts.flatMap((text, at) =>
    text
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => ({ instance: instances[at] ?? "", line })),
  );
}

/** What `next` has beyond `shown`: per instance, the lines after the longest overlap. */
export function newLines(shown: readonly LogLine[], next: readonly LogLine[]): readonly LogLine[] {
  return [...new Set(next.map((line) => line.instance))].flatMap((instance) => {
    const before = shown.filter((line) => line.instance === instance).map((line) => line.line);
    const now = next.filter((line) => line.instance === instance);
    for (let overlap = Math.min(before.length, now.length); overlap > 0; overlap--) {
      const tail = before.slice(-overlap);
      if (tail.every((line, at) => line === now[at]?.line)) return now.slice(overlap);
    }
    return now;
  });
}

function printLines(lines: readonly LogLine[], format: OutputFormat): void {
  const several = new Set(lines.map((line) => line.instance)).size > 1;
  for (const line of lines) {
    if (format === "json") console.log(JSON.stringify(line));
    else if (format === "yaml") console.log(toYaml([line]));
    else console.log(several ? `${line.instance}  ${line.line}` : line.line);
  }
}
