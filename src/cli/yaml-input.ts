/** Reads what `-f` names: a file, a folder (its YAML files, recursively) or `-` for standard input. */
import { globSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";

import { messageOf } from "../base/error.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

export interface YamlInput {
  /** As problems name it: the path as given, `-` for standard input. */
  readonly file: string;
  readonly text: string;
}

/** Larger files are refused unread; configuration of this size is a mistake or an attack. */
const fileBytesMax = 16 * 1024 * 1024;

export function readYamlInputs(paths: readonly string[]): readonly YamlInput[] {
  return paths.flatMap((path) => (path === "-" ? [readStandardInput()] : readPath(path)));
}

function readStandardInput(): YamlInput {
  const text = readFileSync(0, "utf8");
  if (text.length > fileBytesMax) throw tooLarge("-");
  return { file: "-", text };
}

function readPath(path: string): readonly YamlInput[] {
  try {
    if (!statSync(path).isDirectory()) return [readOne(path)];
    const files = globSync("**/*.{yaml,yml,json}", { cwd: path }).toSorted();
    return files.filter((file) => !isRunFile(file)).map((file) => readOne(join(path, file)));
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw new CommandFailure(exitCodes.usage, `can't read ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function readOne(path: string): YamlInput {
  if (statSync(path).size > fileBytesMax) throw tooLarge(path);
  return { file: path, text: readFileSync(path, "utf8") };
}

function tooLarge(path: string): CommandFailure {
  return new CommandFailure(
    exitCodes.findings,
    `${path} is larger than ${fileBytesMax / 1024 / 1024} MiB; split it`,
  );
}

/** heddle.yaml and Compose files say what to run, not how it behaves. */
function isRunFile(file: string): boolean {
  return /(^|\/)(heddle|(docker-)?compose)\.ya?ml$/.test(file);
}
