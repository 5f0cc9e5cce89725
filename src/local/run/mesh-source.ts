/** Finds and reads the file that says what runs: `heddle.yaml`, or a Compose file. */
import { readdirSync, readFileSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

import { HeddleError, messageOf } from "../../base/error.ts";
import { formatProblem, type Parsed, type Problem } from "../../base/problem.ts";
import { parseComposeFile } from "../compose-file.ts";
import { parseHeddleFile } from "../heddle-file.ts";
import type { MeshFile } from "../mesh-file.ts";

const heddleNames = ["heddle.yaml", "heddle.yml"];
const composeNames = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
const meshFileNames = [...heddleNames, ...composeNames];
const fileBytesMax = 4 * 1024 * 1024;

/** The path of the mesh file in a directory (or that is this path); refuses when there is none. */
export function findMeshFile(directoryOrFile: string): string {
  const path = resolve(directoryOrFile);
  let stat: Stats | undefined;
  let names: readonly string[] = [];
  try {
    stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory() === true) names = readdirSync(path);
  } catch (thrown) {
    const [why] = whyUnreadable(thrown);
    throw new HeddleError("local.no-directory", `${path} cannot be read: ${why}`, {
      cause: thrown,
    });
  }
  if (stat === undefined) throw new HeddleError("local.no-directory", `there is no ${path}`);
  if (!stat.isDirectory()) return path;
  // A link that leads nowhere is found, too, and says what is wrong with it.
  const found = meshFileNames.find((name) => names.includes(name));
  if (found !== undefined) return join(path, found);
  const wanted = `${heddleNames[0]} or ${composeNames[0]}`;
  throw new HeddleError(
    "local.no-mesh-file",
    `${path} holds no ${wanted} that says what to run; 'heddle up samples/shop' in a clone shows one`,
  );
}

export function readMeshFile(path: string): Parsed<MeshFile> {
  let text: string;
  try {
    const stat = statSync(path);
    // Reading a pipe would wait for whoever writes to it.
    if (!stat.isFile()) return unreadable(path, "it is no regular file", "put a text file there");
    if (stat.size > fileBytesMax) {
      const why = `it has ${stat.size} bytes, more than ${fileBytesMax}`;
      return unreadable(path, why, "it only says what runs; Istio YAML goes into files of its own");
    }
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    return unreadable(path, ...whyUnreadable(thrown));
  }
  const parse = isCompose(path) ? parseComposeFile : parseHeddleFile;
  const { value, problems } = parse(text, path, dirname(path));
  return { value, problems: [...problems, ...othersBeside(path)] };
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

/** Files that would say what runs, if this one did not. */
function othersBeside(path: string): readonly Problem[] {
  let names: readonly string[];
  try {
    names = readdirSync(dirname(path));
  } catch {
    return []; // the folder may be entered and not listed
  }
  const others = meshFileNames.filter((name) => names.includes(name) && name !== basename(path));
  return others.map((name) => ({
    code: "heddle-file.not-read",
    severity: "warning",
    path: "",
    message: `${name} is not read: ${basename(path)} says what runs`,
    hint: "take one of them out of the folder",
    source: { file: join(dirname(path), name), line: 1, column: 1 },
  }));
}

function isCompose(path: string): boolean {
  return composeNames.includes(basename(path)) || /compose[^/]*\.ya?ml$/.test(basename(path));
}

function whyUnreadable(thrown: unknown): readonly [why: string, hint: string] {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  switch (code) {
    case "ENOENT":
      return ["it is not there", "put it back; what it said last goes on"];
    case "EACCES":
    case "EPERM":
      return ["this user may not read it", "change its mode or its owner"];
    case "ELOOP":
      return ["it is a link that leads to itself", "put a text file there"];
    default:
      return [messageOf(thrown), "make it a readable text file"];
  }
}

function unreadable(file: string, why: string, hint: string): Parsed<MeshFile> {
  const problem = {
    code: "heddle-file.unreadable",
    severity: "error",
    path: "",
    message: `the file cannot be read: ${why}`,
    hint,
    source: { file, line: 1, column: 1 },
  } as const;
  return { value: undefined, problems: [problem] };
}
