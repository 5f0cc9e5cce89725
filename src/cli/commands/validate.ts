import type { Command } from "commander";

import { formatProblem, type Problem } from "../../base/problem.ts";
import { buildMeshModel } from "../../control/mesh.ts";
import { declaresMesh, readDeclaredMesh } from "../../local/declared.ts";
import { type ConfigResource, resourceKey } from "../../model/config-resource.ts";
import { parseDocuments } from "../../model/documents.ts";
import { duplicateProblem } from "../../model/duplicates.ts";
import { defaultMeshSettings, parseMeshConfig } from "../../model/mesh-config.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";
import { readYamlInputs, type YamlInput } from "../yaml-input.ts";

interface Options {
  readonly output: OutputFormat;
  readonly filename: readonly string[];
  readonly strict: boolean;
}

interface Validation {
  readonly files: number;
  readonly resources: number;
  readonly problems: readonly Problem[];
}

export function registerValidateCommand(program: Command): void {
  program
    .command("validate")
    .description(
      "check YAML without a mesh; in a folder with heddle.yaml also what resources say of each other",
    )
    .requiredOption("-f, --filename <path...>", "YAML files, folders, or - for standard input")
    .option("--strict", "exit 1 on warnings, too", false)
    .addOption(outputOption())
    .action((options: Options) => {
      const refused: Problem[] = [];
      const inputs = readYamlInputs(options.filename, (problem) => refused.push(problem));
      const folders = options.filename.filter(declaresMesh);
      if (inputs.length + refused.length === 0 && folders.length === 0) {
        throw new CommandFailure(
          exitCodes.usage,
          `there is no YAML file in ${options.filename.join(", ")}`,
        );
      }
      const readable = validate(inputs, folders[0]);
      const files = readable.files + refused.filter(isError).length;
      const validation = { ...readable, files, problems: [...refused, ...readable.problems] };
      print(options.output, validation, () => formatValidation(validation));
      const counts = options.strict ? validation.problems : validation.problems.filter(isError);
      process.exitCode = counts.length > 0 ? exitCodes.findings : exitCodes.fine;
    });
}

/**
 * What is wrong within each file, and between files: the same parser and the same checks as the
 * control plane's. What resources say of services is known where a folder says what runs.
 */
export function validate(inputs: readonly YamlInput[], folder?: string): Validation {
  const problems: Problem[] = [];
  const first = new Map<string, ConfigResource>();
  let resources = 0;
  for (const { file, text } of inputs) {
    const parsed = parseDocuments(text, file);
    problems.push(...parsed.problems);
    for (const resource of parsed.resources) {
      resources++;
      const key = resourceKey(resource);
      const earlier = first.get(key);
      if (earlier === undefined) first.set(key, resource);
      else problems.push(duplicateProblem(resource, earlier.source));
    }
  }
  if (folder !== undefined) problems.push(...checkTogether([...first.values()], folder));
  const files = inputs.length + (folder === undefined ? 0 : 1);
  return { files, resources, problems };
}

function checkTogether(resources: readonly ConfigResource[], folder: string): readonly Problem[] {
  const { declared, problems } = readDeclaredMesh(folder);
  if (declared === undefined) return problems;
  const { workloads, rootNamespace } = declared;
  const config = parseMeshConfig(declared.meshConfig, { ...defaultMeshSettings, rootNamespace });
  // Whether an earlier version of what is broken was good, only a running mesh knows.
  const mesh = buildMeshModel({ resources, broken: [], workloads, settings: config.settings });
  return [...problems, ...config.problems, ...mesh.problems];
}

function formatValidation({ files, resources, problems }: Validation): string {
  const errors = problems.filter(isError).length;
  const warnings = problems.length - errors;
  const summary = `${resources} resources in ${files} ${files === 1 ? "file" : "files"}: ${errors} errors, ${warnings} warnings`;
  return [...problems.map(formatProblem), summary].join("\n");
}

function isError({ severity }: Problem): boolean {
  return severity === "error";
}
