import type { Command } from "commander";

import { formatProblem, type ResourceRef } from "../../base/problem.ts";
import type { ApplyOutcome, ConfigAnswer } from "../../console/api.ts";
import { parseDocuments } from "../../model/documents.ts";
import { parseDurationMs } from "../duration.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, type MeshApi, type MeshOptions } from "../mesh-api.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";
import { onlyResource, parseResourceName } from "../resource-name.ts";
import { readYamlInputs } from "../yaml-input.ts";
import { formatWait, waitFor } from "./apply.ts";
import { queryOf } from "./get.ts";

interface Options extends MeshOptions {
  readonly output: OutputFormat;
  readonly filename?: readonly string[];
  readonly namespace?: string;
  readonly wait: boolean;
  readonly timeout: string;
}

export function registerDeleteCommand(program: Command): void {
  addMeshOptions(program.command("delete"))
    .argument("[kind]", "KIND NAME or KIND/NAME")
    .argument("[name]")
    .description("remove configuration that was applied")
    .option("-f, --filename <path...>", "remove what these YAML files name")
    .option("-n, --namespace <name>", "namespace of the resource")
    .option("--wait", "return when every concerned proxy has acknowledged", false)
    .option("--timeout <duration>", "how long --wait may take", "30s")
    .addOption(outputOption())
    .action(async (kind: string | undefined, name: string | undefined, options: Options) => {
      const timeoutMs = parseDurationMs(options.timeout, "--timeout");
      const api = connectToMesh(options);
      const outcomes: ApplyOutcome[] = [];
      for (const ref of await refsOf(api, kind, name, options)) {
        outcomes.push(await api.post<ApplyOutcome>("/api/config/delete", { ref }));
      }
      const wait = options.wait ? await waitFor(api, outcomes, timeoutMs) : undefined;
      print(options.output, { outcomes, wait }, () =>
        [
          ...outcomes.flatMap((outcome) => [
            ...outcome.applied.map(
              ({ ref }) => `${ref.kind.toLowerCase()}/${ref.namespace}/${ref.name} removed`,
            ),
            ...outcome.problems.map(formatProblem),
          ]),
          ...(wait === undefined ? [] : formatWait(wait)),
        ].join("\n"),
      );
      const refused = outcomes.some((outcome) => outcome.applied.length === 0);
      const unfinished = wait !== undefined && wait.pending.length + wait.refused.length > 0;
      process.exitCode = refused || unfinished ? exitCodes.findings : exitCodes.fine;
    });
}

async function refsOf(
  api: MeshApi,
  kind: string | undefined,
  name: string | undefined,
  options: Options,
): Promise<readonly ResourceRef[]> {
  if (options.filename !== undefined) return refsInFiles(options.filename, options.namespace);
  const wanted = parseResourceName(kind ?? "", name);
  if (kind === undefined || wanted.name === undefined) {
    throw new CommandFailure(exitCodes.usage, "name what to remove: KIND NAME, or -f FILE");
  }
  const { resources } = await api.get<ConfigAnswer>(
    `/api/config?${queryOf(wanted, options.namespace)}`,
  );
  return [onlyResource(resources, `${wanted.kind} ${wanted.name}`)];
}

/** What the files name, whatever is wrong in them otherwise. */
function refsInFiles(
  paths: readonly string[],
  namespace: string | undefined,
): readonly ResourceRef[] {
  const refs = readYamlInputs(paths).flatMap(({ file, text }): ResourceRef[] => {
    const { resources, broken } = parseDocuments(text, file, namespace);
    const named = broken.flatMap(({ kind, namespace: place, name }) =>
      name === undefined ? [] : [{ kind, namespace: place, name }],
    );
    return [
      ...resources.map(({ kind, namespace: place, name }) => ({ kind, namespace: place, name })),
      ...named,
    ];
  });
  if (refs.length === 0) {
    throw new CommandFailure(exitCodes.findings, `${paths.join(", ")} name no resource`);
  }
  return refs;
}
