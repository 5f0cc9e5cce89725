/**
 * Which files of a folder are configuration, for the control plane that watches it and for whoever checks
 * it without a mesh: both must mean the same.
 */
import { extname } from "node:path";

import type { Problem } from "../base/problem.ts";
import type { ParsedDocuments } from "../model/documents.ts";
import { yamlLimits } from "../model/yaml.ts";

/** UTF-8 takes at most three bytes for a UTF-16 unit. */
export const configurationBytesMax: number = yamlLimits.fileCharactersMax * 3;

const extensions = new Set([".yaml", ".yml", ".json"]);
/** What runs is described here, at the top of the folder; it is not Istio's configuration. */
const describesWorkloads = /^(?:heddle\.ya?ml|(?:docker-)?compose(?:\.override)?\.ya?ml)$/;

/** By its path, relative to the folder. */
export function isConfigurationFile(path: string): boolean {
  return extensions.has(extname(path).toLowerCase()) && !describesWorkloads.test(path);
}

/** By the name of a file or folder: nothing below it is looked at. */
export function isPassedOver(name: string): boolean {
  return name.startsWith(".") || name === "node_modules";
}

/** package.json and its like lie in many folders and mean nothing to a mesh. */
export function isOtherJson(path: string, parsed: ParsedDocuments): boolean {
  return (
    path.endsWith(".json") &&
    parsed.resources.length === 0 &&
    parsed.broken.length === 0 &&
    parsed.problems.every((problem) => problem.code === "config.not-a-resource")
  );
}

/** Of a link to a folder: it may lead anywhere, and in circles. `file` is the link. */
export function linkedFolderProblem(file: string): Problem {
  return {
    code: "config.linked-folder",
    severity: "warning",
    path: "",
    message: "the link to a folder is not followed: what lies behind it is not read",
    hint: "put the folder here, link its files one by one, or give the link a name that begins with a dot",
    source: { file, line: 1, column: 1 },
  };
}

/** A file that cannot be read whole: what it held before stays in force. */
export function unreadableFileProblem(file: string, reason: string): Problem {
  return {
    code: "config.unreadable-file",
    severity: "error",
    path: "",
    message: `the file ${reason}`,
    hint: "make it a readable file of configuration, or take it out of the folder",
    source: { file, line: 1, column: 1 },
  };
}

/** Why it cannot be read, where a link is left whose target is not: it may stand for a policy. */
export const leadsNowhere = "is a link to what is not there";
