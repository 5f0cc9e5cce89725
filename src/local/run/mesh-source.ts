/** Finds and reads the file that says what runs: `heddle.yaml`, or a Compose file. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import { HeddleError, messageOf } from "../../base/error.ts";
import { formatProblem, type Parsed, type Problem } from "../../base/problem.ts";
import { parseComposeFile } from "../compose-file.ts";
import { parseHeddleFile } from "../heddle-file.ts";
import type { MeshFile } from "../mesh-file.ts";

const heddleNames = ["heddle.yaml", "heddle.yml"];
const composeNames = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const fileBytesMax = 4 * 1024 * 1024;

/** The path of the mesh file in a directory (or that is this path); refuses when there is none. */
export function findMeshFile(directoryOrFile: string): string {
  const path = resolve(directoryOrFile);
  const stat = statSync(path, { throwIfNoEntry: false });
  if (stat?.isFile() === true) return path;
  if (stat === undefined) throw new HeddleError("local.no-directory", `there is no ${path}`);
  const found = [...heddleNames, ...composeNames].map((name) => join(path, name)).find(existsSync);
  if (found !== undefined) return found;
  const names = `${heddleNames[0]} or ${composeNames[0]}`;
  throw new HeddleError("local.no-mesh-file", `${path} holds no ${names} that says what to run`);
}

export function readMeshFile(path: string): Parsed<MeshFile> {
  let text: string;
  try {
    const { size } = statSync(path);
    if (size > fileBytesMax) return unreadable(path, `it has more than ${fileBytesMax} bytes`);
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    return unreadable(path, messageOf(thrown));
  }
  const parse = isCompose(path) ? parseComposeFile : parseHeddleFile;
  return parse(text, path, dirname(path));
}

export interface UsableMeshFile {
  readonly file: MeshFile;
  /** Warnings. */
  readonly problems: readonly Problem[];
}

/** Throws `local.mesh-file` with all that is wrong when the file cannot be used. */
export function readUsableMeshFile(path: string): UsableMeshFile {
  const { value: file, problems } = readMeshFile(path);
  if (file !== undefined) return { file, problems };
  const lines = problems.map((problem) => `\n  ${formatProblem(problem)}`).join("");
  throw new HeddleError("local.mesh-file", `${path} cannot be used:${lines}`);
}

function isCompose(path: string): boolean {
  return composeNames.includes(basename(path)) || /compose[^/]*\.ya?ml$/.test(basename(path));
}

function unreadable(file: string, why: string): Parsed<MeshFile> {
  const problem = {
    code: "heddle-file.unreadable",
    severity: "error",
    path: "",
    message: `the file cannot be read: ${why}`,
    source: { file, line: 1, column: 1 },
  } as const;
  return { value: undefined, problems: [problem] };
}
