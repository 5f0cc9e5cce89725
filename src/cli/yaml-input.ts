/** Reads what `-f` names: a file, a folder (its YAML files, recursively) or `-` for standard input. */
import { globSync, lstatSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";

import { messageOf } from "../base/error.ts";
import { formatProblem, type Problem } from "../base/problem.ts";
import {
  configurationBytesMax,
  isConfigurationFile,
  isOtherJson,
  isPassedOver,
  leadsNowhere,
  linkedFolderProblem,
  unreadableFileProblem,
} from "../control/configuration-file.ts";
import { parseDocuments } from "../model/documents.ts";
import { CommandFailure, exitCodes } from "./exit.ts";

export interface YamlInput {
  /** As problems name it: the path as given, `-` for standard input. */
  readonly file: string;
  readonly text: string;
}

/** Told of a file that is refused unread, or a link that is not followed, while the others are read. */
export type OnRefused = (problem: Problem) => void;

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
  if (text.length <= configurationBytesMax) return [{ file: "-", text }];
  onRefused(tooLarge("-"));
  return [];
}

function readPath(path: string, onRefused: OnRefused): readonly YamlInput[] {
  try {
    if (!statSync(path).isDirectory()) return readOne(path, onRefused);
    for (const link of linkedFoldersOf(path)) onRefused(linkedFolderProblem(join(path, link)));
    for (const link of lostLinksOf(path)) {
      onRefused(unreadableFileProblem(join(path, link), leadsNowhere));
    }
    return configurationOf(path)
      .flatMap((file) => readOne(join(path, file), onRefused))
      .filter(
        ({ file, text }) =>
          !file.endsWith(".json") || !isOtherJson(file, parseDocuments(text, file)),
      );
  } catch (error) {
    if (error instanceof CommandFailure) throw error;
    throw new CommandFailure(exitCodes.usage, `can't read ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
}

function readOne(path: string, onRefused: OnRefused): readonly YamlInput[] {
  if (statSync(path).size <= configurationBytesMax) {
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
    message: `the file is larger than ${configurationBytesMax / 1024 / 1024} MiB and was not read`,
    hint: "split it",
    source: { file, line: 1, column: 1 },
  };
}

function endCommand(problem: Problem): void {
  if (problem.severity === "warning") {
    console.error(formatProblem(problem));
    return;
  }
  throw new CommandFailure(exitCodes.findings, formatProblem(problem));
}

/** Relative, in order: what a mesh that is started from the folder would read. */
function configurationOf(folder: string): readonly string[] {
  return entriesOf(folder)
    .filter(
      (path) =>
        isConfigurationFile(path) &&
        statSync(join(folder, path), { throwIfNoEntry: false })?.isFile() === true,
    )
    .toSorted();
}

function lostLinksOf(folder: string): readonly string[] {
  return entriesOf(folder).filter(
    (path) =>
      isConfigurationFile(path) &&
      lstatSync(join(folder, path)).isSymbolicLink() &&
      statSync(join(folder, path), { throwIfNoEntry: false }) === undefined,
  );
}

function linkedFoldersOf(folder: string): readonly string[] {
  return entriesOf(folder).filter((path) => {
    const isLink = lstatSync(join(folder, path)).isSymbolicLink();
    return (
      isLink && statSync(join(folder, path), { throwIfNoEntry: false })?.isDirectory() === true
    );
  });
}

function entriesOf(folder: string): readonly string[] {
  return globSync("**/*", { cwd: folder, exclude: (path) => isPassedOver(basename(path)) });
}
