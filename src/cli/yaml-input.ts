/** Reads what `-f` names: a file, a folder (its YAML files, recursively) or `-` for standard input. */
import { globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { messageOf } from "../base/error.ts";
import { formatProblem, type Problem } from "../base/problem.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

export interface YamlInput {
  /** As problems name it: the path as given, `-` for standard input. */
  readonly file: string;
  readonly text: string;
}

/** Told of a file that is refused unread, while the others are read. */
export type OnRefused = (problem: Problem) => void;

/** Larger files are refused unread; configuration of this size is a mistake or an attack. */
const fileBytesMax = 16 * 1024 * 1024;

/** Without `onRefused`, a file that is too large ends the command. */
export function readYamlInputs(
  paths: readonly string[],
  onRefused: OnRefused = endCommand,
): readonly YamlInput[] {
  return paths.flatMap((path) =>
    path === "-" ? readStandardInput(onRefused) : readPath(path, onRefused),
  );
}

function readStandardInput(onRefused: OnRefused): readonly YamlInput[] {
  const text = readFileSync(0, "utf8");
  if (text.length <= fileBytesMax) return [{ file: "-", text }];
  onRefused(tooLarge("-"));
  return [];
}

function readPath(path: string, onRefused: OnRefused): readonly YamlInput[] {
  try {
    if (!statSync(path).isDirectory()) return readOne(path, onRefused);
    const files = globSync("**/*.{yaml,yml,json}", { cwd: path }).toSorted();
    return files
      .filter((file) => !isRunFile(file))
      .flatMap((file) => readOne(join(path, file), onRefused));
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw new CommandFailure(exitCodes.usage, `can't read ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function readOne(path: string, onRefused: OnRefused): readonly YamlInput[] {
  if (statSync(path).size <= fileBytesMax) {
    return [{ file: path, text: readFileSync(path, "utf8") }];
  }
  onRefused(tooLarge(path));
  return [];
}

function tooLarge(file: string): Problem {
  return {
    code: "yaml.file-too-large",
    severity: "error",
    path: "",
    message: `the file is larger than ${fileBytesMax / 1024 / 1024} MiB and was not read`,
    hint: "split it",
    source: { file, line: 1, column: 1 },
  };
}

function endCommand(problem: Problem): never {
  throw new CommandFailure(exitCodes.findings, formatProblem(problem));
}

/** heddle.yaml and Compose files say what to run, not how it behaves. */
function isRunFile(file: string): boolean {
  return /(^|\/)(heddle|(docker-)?compose)\.ya?ml$/.test(file);
}
