import type { Command } from "commander";

import { formatProblem } from "../../base/problem.ts";
import type { ConfigAnswer, ConfigResource } from "../../console/api.ts";
import { allKindNames, kindAskedFor } from "../../model/kinds.ts";
import { nearestName } from "../../model/nearest-name.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { addMeshOptions, connectToMesh, type MeshOptions } from "../mesh-api.ts";
import { type OutputFormat, formatOutput, outputOption } from "../output.ts";
import { parseResourceName, type ResourceName } from "../resource-name.ts";
import { formatTable } from "../table.ts";

interface Options extends MeshOptions {
  readonly output: OutputFormat;
  readonly namespace?: string;
}

export function registerGetCommand(program: Command): void {
  addMeshOptions(program.command("get"))
    .argument("[kind]", "kind of resource, as KIND, KIND/NAME or a short name; all without it")
    .argument("[name]")
    .description("show the configuration the mesh runs with, and where it is written")
    .option("-n, --namespace <name>", "only this namespace")
    .addOption(outputOption())
    .action(async (kind: string | undefined, name: string | undefined, options: Options) => {
      const wanted = parseResourceName(kind ?? "", name);
      refuseUnknownKind(wanted.kind);
      const { resources, problems } = await connectToMesh(options).get<ConfigAnswer>(
        `/api/config?${queryOf(wanted, options.namespace)}`,
      );
      if (wanted.name !== undefined && resources.length === 0) {
        throw new CommandFailure(exitCodes.findings, `there is no ${wanted.kind} ${wanted.name}`);
      }
      console.log(formatResources(resources, options.output));
      if (isAll(wanted.kind)) printOthers(problems, options.output);
    });
}

function isAll(kind: string): boolean {
  return kind === "" || kind === "all";
}

/** What is wrong with heddle.yaml, or with files that hold no resource. */
function printOthers(problems: ConfigAnswer["problems"], format: OutputFormat): void {
  const others = problems.filter(({ resource }) => resource === undefined);
  if (others.length === 0) return;
  const text = others.map(formatProblem).join("\n");
  if (format === "table") console.log(`\n${text}`);
  else console.error(text); // beside the resources, which go to a program
}

function refuseUnknownKind(kind: string): void {
  if (isAll(kind) || kindAskedFor(kind) !== undefined) return;
  const near = nearestName(kind, allKindNames());
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  throw new CommandFailure(exitCodes.usage, `there is no kind ${kind}${hint}`);
}

export function queryOf({ kind, name }: ResourceName, namespace: string | undefined): string {
  const query = new URLSearchParams();
  if (!isAll(kind)) query.set("kind", kind);
  if (name !== undefined) query.set("name", name);
  if (namespace !== undefined) query.set("namespace", namespace);
  return query.toString();
}

function formatResources(resources: readonly ConfigResource[], format: OutputFormat): string {
  // YAML is what was written, with its comments: it can be edited and applied again.
  if (format === "yaml") return resources.map(({ yaml }) => yaml.trimEnd()).join("\n---\n");
  return formatOutput(format, resources, () => {
    if (resources.length === 0) return "no resources";
    const rows = resources.map(({ ref, source, origin, problems }) => [
      ref.kind,
      ref.namespace,
      ref.name,
      source === undefined ? origin : `${source.file}:${source.line}`,
      problems.length === 0 ? "-" : String(problems.length),
    ]);
    const table = formatTable(["KIND", "NAMESPACE", "NAME", "FROM", "PROBLEMS"], rows);
    const problems = resources.flatMap((resource) => resource.problems.map(formatProblem));
    return problems.length === 0 ? table : `${table}\n\n${problems.join("\n")}`;
  });
}
