import type { Command } from "commander";

import { formatProblem, type Problem, type SourcePosition } from "../../base/problem.ts";
import { resourceKey } from "../../model/config-resource.ts";
import { duplicateProblem, parseDocuments } from "../../model/documents.ts";
import { CommandFailure, exitCodes } from "../exit.ts";
import { type OutputFormat, outputOption, print } from "../output.ts";
import { readYamlInputs, type YamlInput } from "../yaml-input.ts";

interface Options {
  readonly output: OutputFormat;
  readonly filename: readonly string[];
}

interface Validation {
  readonly files: number;
  readonly resources: number;
  readonly problems: readonly Problem[];
}

export function registerValidateCommand(program: Command): void {
  program
    .command("validate")
    .description("check YAML without a mesh: kinds, fields, types, values, names used twice")
    .requiredOption("-f, --filename <path...>", "YAML files, folders, or - for standard input")
    .addOption(outputOption())
    .action((options: Options) => {
      const inputs = readYamlInputs(options.filename);
      if (inputs.length === 0) {
        throw new CommandFailure(
          exitCodes.usage,
          `there is no YAML file in ${options.filename.join(", ")}`,
        );
      }
      const validation = validate(inputs);
      print(options.output, validation, () => formatValidation(validation));
      process.exitCode = validation.problems.length > 0 ? exitCodes.findings : exitCodes.fine;
    });
}

/** What is wrong within each file, and between files: the same parser as the control plane's. */
export function validate(inputs: readonly YamlInput[]): Validation {
  const problems: Problem[] = [];
  const first = new Map<string, SourcePosition>();
  let resources = 0;
  for (const { file, text } of inputs) {
    const parsed = parseDocuments(text, file);
    problems.push(...parsed.problems);
    for (const resource of parsed.resources) {
      resources++;
      const key = resourceKey(resource);
      const earlier = first.get(key);
      if (earlier === undefined) first.set(key, resource.source);
      else problems.push(duplicateProblem(resource, earlier));
    }
  }
  return { files: inputs.length, resources, problems };
}

function formatValidation({ files, resources, problems }: Validation): string {
  const errors = problems.filter((problem) => problem.severity === "error").length;
  const warnings = problems.length - errors;
  const summary = `${resources} resources in ${files} ${files === 1 ? "file" : "files"}: ${errors} errors, ${warnings} warnings`;
  return [...problems.map(formatProblem), summary].join("\n");
}
