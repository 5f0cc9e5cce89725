import type { Command } from "commander";

import { formatProblem } from "../../base/problem.ts";
import type { ApplyOutcome, WaitOutcome } from "../../console/api.ts";
import { parseDurationMs } from "../duration.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, type MeshApi, type MeshOptions } from "../mesh-api.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";
import { readYamlInputs } from "../yaml-input.ts";
import { formatRefusal } from "./proxy-status.ts";

interface Options extends MeshOptions {
  readonly output: OutputFormat;
  readonly filename: readonly string[];
  readonly namespace?: string;
  readonly dryRun: boolean;
  readonly wait: boolean;
  readonly timeout: string;
}

interface Result {
  readonly outcomes: readonly ApplyOutcome[];
  readonly wait: WaitOutcome | undefined;
}

export function registerApplyCommand(program: Command): void {
  addMeshOptions(program.command("apply"))
    .description("add or replace configuration of the running mesh")
    .requiredOption("-f, --filename <path...>", "YAML files, folders, or - for standard input")
    .option("-n, --namespace <name>", "for documents that name none")
    .option("--dry-run", "check and say what would change", false)
    .option("--wait", "return when every concerned proxy has acknowledged", false)
    .option("--timeout <duration>", "how long --wait may take", "30s")
    .addOption(outputOption())
    .action(async (options: Options) => {
      const timeoutMs = parseDurationMs(options.timeout, "--timeout");
      const api = connectToMesh(options);
      const outcomes: ApplyOutcome[] = [];
      for (const { file, text } of readYamlInputs(options.filename)) {
        outcomes.push(
          await api.post<ApplyOutcome>("/api/config/apply", {
            yaml: text,
            file,
            dryRun: options.dryRun,
            ...(options.namespace === undefined ? {} : { namespace: options.namespace }),
          }),
        );
      }
      if (outcomes.length === 0) {
        throw new CommandFailure(exitCodes.usage, "there is no YAML file to apply");
      }
      const wait =
        options.wait && !options.dryRun ? await waitFor(api, outcomes, timeoutMs) : undefined;
      const result: Result = { outcomes, wait };
      print(options.output, result, () => formatResult(result, options.dryRun));
      process.exitCode = hasFindings(result) ? exitCodes.findings : exitCodes.fine;
    });
}

export async function waitFor(
  api: MeshApi,
  outcomes: readonly ApplyOutcome[],
  timeoutMs: number,
): Promise<WaitOutcome | undefined> {
  const refs = outcomes.flatMap((outcome) => outcome.applied.map(({ ref }) => ref));
  if (refs.length === 0) return undefined; // Nothing was changed: there is nothing to acknowledge.
  const generation = Math.max(...outcomes.map((outcome) => outcome.generation));
  return api.post<WaitOutcome>(
    "/api/config/wait",
    { refs, generation, timeoutMs },
    { timeoutMs: timeoutMs + 5000 },
  );
}

function hasFindings({ outcomes, wait }: Result): boolean {
  const refusedHere = outcomes.some((outcome) =>
    outcome.problems.some((problem) => problem.severity === "error"),
  );
  const unfinished = wait !== undefined && (wait.pending.length > 0 || wait.refused.length > 0);
  return refusedHere || unfinished;
}

function formatResult({ outcomes, wait }: Result, isDryRun: boolean): string {
  const lines = outcomes.flatMap((outcome) => [
    ...outcome.applied.map(
      ({ ref, change }) =>
        `${ref.kind.toLowerCase()}/${ref.namespace}/${ref.name} ${change}${isDryRun ? " (dry run)" : ""}`,
    ),
    ...outcome.problems.map(formatProblem),
    ...(outcome.applied.length === 0 ? ["nothing was changed"] : []),
  ]);
  if (wait !== undefined) lines.push(...formatWait(wait));
  return lines.join("\n");
}

export function formatWait(wait: WaitOutcome): readonly string[] {
  const { acked, refused, pending } = wait;
  if (acked.length + refused.length + pending.length === 0) return ["no proxy's resources change"];
  return [
    `acknowledged by ${acked.length} ${acked.length === 1 ? "proxy" : "proxies"}`,
    ...refused.map(formatRefusal),
    ...pending.map((proxy) => `no answer from ${proxy}`),
  ];
}
