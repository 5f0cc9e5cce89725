/** Finds the configuration files below a folder and parses those that changed since the last look. */
import type { Dirent, Stats } from "node:fs";
import { lstat, readdir, readFile, realpath, stat } from "node:fs/promises";
import { basename, join, relative, sep } from "node:path";

import { messageOf } from "../../base/error.ts";
import type { Problem } from "../../base/problem.ts";
import type { ParsedDocuments } from "../../model/documents.ts";
import { parseDocuments } from "../../model/documents.ts";
import {
  configurationBytesMax,
  isConfigurationFile,
  isOtherJson,
  isPassedOver,
  leadsNowhere,
  linkedFolderProblem,
  unreadableFileProblem,
} from "../configuration-file.ts";

export interface FoundFile {
  /** Relative to the folder: how positions name it. */
  readonly name: string;
  readonly parsed: ParsedDocuments;
}

export interface FoundFiles {
  /** In order of name. */
  readonly files: readonly FoundFile[];
  /** About the folder itself: too many files, unreadable folders. */
  readonly problems: readonly Problem[];
  /** Folders, relative, that could not be read: what they held before still holds. */
  readonly unread: readonly string[];
  readonly hasChanged: boolean;
}

/** Whether a file lies in one of the folders. */
export function isBelow(folders: readonly string[], file: string): boolean {
  return folders.some((folder) => folder === "" || file.startsWith(`${folder}/`));
}

const filesMax = 5000;
const depthMax = 16;

interface Known {
  readonly fingerprint: string;
  readonly file: FoundFile;
}

export class ConfigFiles {
  readonly #directory: string;
  #known = new Map<string, Known>();
  #problems = "";

  constructor(directory: string) {
    this.#directory = directory;
  }

  async scan(): Promise<FoundFiles> {
    const problems: Problem[] = [];
    const unread: string[] = [];
    const found = await this.#list(problems, unread);
    // A folder that is gone, or not to be read, says nothing: least of all that policies were removed.
    const kept = [...this.#known.keys()].filter((name) => isBelow(unread, name));
    const names = [...found, ...kept].toSorted((a, b) => (a < b ? -1 : 1));
    const known = new Map<string, Known>();
    for (const name of names) {
      const one = isBelow(unread, name) ? this.#known.get(name) : await this.#look(name);
      if (one !== undefined) known.set(name, one);
    }
    const folderProblems = JSON.stringify(problems);
    const hasChanged =
      folderProblems !== this.#problems ||
      known.size !== this.#known.size ||
      [...known].some(([name, one]) => this.#known.get(name) !== one);
    this.#known = known;
    this.#problems = folderProblems;
    return { files: [...known.values()].map(({ file }) => file), problems, unread, hasChanged };
  }

  async #list(problems: Problem[], unread: string[]): Promise<string[]> {
    const names: string[] = [];
    const waiting: { readonly path: string; readonly depth: number }[] = [{ path: "", depth: 0 }];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { path, depth } = next;
      let entries: Dirent[];
      try {
        entries = await readdir(join(this.#directory, path), { withFileTypes: true });
      } catch (error) {
        const reason = isGone(error) ? "it is not there" : messageOf(error);
        problems.push(
          folderProblem(path, `cannot be read: ${reason}; what it held stays in force`),
        );
        unread.push(path);
        continue;
      }
      for (const entry of entries) {
        if (isPassedOver(entry.name)) continue;
        const name = path === "" ? entry.name : `${path}/${entry.name}`;
        if (entry.isDirectory()) {
          if (depth < depthMax) waiting.push({ path: name, depth: depth + 1 });
          else problems.push(folderProblem(name, `is deeper than ${depthMax} folders; not read`));
        } else if (entry.isSymbolicLink() && (await isFolder(join(this.#directory, name)))) {
          problems.push(linkedFolderProblem(name));
        } else if (isConfigurationFile(name)) {
          names.push(name);
        }
      }
      if (names.length > filesMax) {
        problems.push(folderProblem("", `holds more than ${filesMax} files; the rest is not read`));
        return names.slice(0, filesMax);
      }
    }
    return names;
  }

  /** Undefined for what is gone, is no regular file, or is JSON of another kind. */
  async #look(name: string): Promise<Known | undefined> {
    const path = join(this.#directory, name);
    let stats: Stats;
    try {
      stats = await stat(path);
    } catch (error) {
      if (!isGone(error)) return this.#refused(name, "unreadable", messageOf(error));
      // A file that is gone is taken back; a link that is left may be a policy's.
      return (await isLink(path)) ? this.#refused(name, leadsNowhere, leadsNowhere) : undefined;
    }
    if (!stats.isFile()) return undefined;
    const { dev, ino, size, mtimeMs, ctimeMs } = stats;
    const fingerprint = [dev, ino, size, mtimeMs, ctimeMs].join(" ");
    const known = this.#known.get(name);
    if (known?.fingerprint === fingerprint) return known;
    if (size > configurationBytesMax) {
      return this.#refused(
        name,
        fingerprint,
        `has ${size} bytes, more than ${configurationBytesMax}`,
      );
    }
    try {
      if (!(await this.#isInside(path))) {
        return this.#refused(name, fingerprint, "is a link that leads out of the folder");
      }
      const parsed = parseDocuments(await readFile(path, "utf8"), name);
      if (isOtherJson(name, parsed)) return undefined;
      return { fingerprint, file: { name, parsed } };
    } catch (error) {
      return isGone(error) ? undefined : this.#refused(name, fingerprint, messageOf(error));
    }
  }

  async #isInside(path: string): Promise<boolean> {
    const [folder, target] = await Promise.all([realpath(this.#directory), realpath(path)]);
    return !relative(folder, target).startsWith(`..${sep}`);
  }

  #refused(name: string, fingerprint: string, reason: string): Known {
    const known = this.#known.get(name);
    if (known?.fingerprint === fingerprint) return known;
    const problem = unreadableFileProblem(name, reason);
    const parsed = {
      resources: [],
      duplicates: [],
      broken: [],
      problems: [problem],
      isComplete: false,
    };
    return { fingerprint, file: { name, parsed } };
  }
}

function isGone(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}

async function isLink(path: string): Promise<boolean> {
  try {
    return (await lstat(path)).isSymbolicLink();
  } catch {
    return false;
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false; // it leads nowhere
  }
}

function folderProblem(path: string, reason: string): Problem {
  const name = path === "" ? "the folder" : basename(path);
  return {
    code: "config.unreadable-folder",
    severity: "error",
    path: "",
    message: `${name} ${reason}`,
    hint: "make it readable, or move what is no configuration elsewhere",
    source: { file: path === "" ? "." : path, line: 1, column: 1 },
  };
}
