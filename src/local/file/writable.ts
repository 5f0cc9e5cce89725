/**
 * Folders inside the mesh's folder that an application may write. Configuration is read from all
 * folders but those whose name begins with a dot, and node_modules: only inside of these can an
 * application be let write, or it could write its own policies.
 */
import { realpathSync } from "node:fs";
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from "node:path";

import { isPassedOver } from "../../control/configuration-file.ts";
import type { FieldReader } from "./reader.ts";

const writableMax = 16;

/** `writable: [.data]`, absolute and without links afterwards. `directory` is the mesh's folder. */
export function readWritable(reader: FieldReader, directory: string): readonly string[] {
  const paths = reader.strings("writable");
  return checked(paths, directory, (why) => reader.refuse("writable", ...why));
}

/** `.data,.cache`: the label of Compose files. */
export function readWritableLabel(
  reader: FieldReader,
  text: string | undefined,
  directory: string,
): readonly string[] {
  const paths = (text ?? "").split(",").filter((path) => path.trim() !== "");
  return checked(
    paths.map((path) => path.trim()),
    directory,
    (why) => reader.refuse("labels", ...why),
  );
}

type Refusal = [code: string, message: string, hint?: string];

function checked(
  paths: readonly string[],
  directory: string,
  refuse: (why: Refusal) => void,
): readonly string[] {
  if (paths.length > writableMax) {
    refuse(["heddle-file.limit", `more than ${writableMax} writable folders`]);
    return [];
  }
  const taken: string[] = [];
  for (const given of paths) {
    const written = resolve(directory, given);
    const path = realOf(written);
    const why =
      refusalOf(given, relative(directory, written)) ??
      leadingElsewhere(given, relative(realOf(directory), path)) ??
      nesting(given, path, taken);
    if (why === undefined) taken.push(path);
    else refuse(why);
  }
  return taken;
}

function refusalOf(given: string, inside: string): Refusal | undefined {
  if (inside === "" || inside.startsWith("..") || isAbsolute(inside)) {
    return [
      "heddle-file.writable",
      `${given} is not inside the mesh's folder`,
      "name a folder inside of it; those outside are not protected",
    ];
  }
  if (inside.split(sep).some(isPassedOver)) return undefined;
  return [
    "heddle-file.writable",
    `configuration is read from ${given}, so that applications must not write it`,
    "choose a folder whose name begins with a dot: no configuration is read from it",
  ];
}

/** With links followed, as far as it exists. */
function realOf(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const parent = dirname(path);
    return parent === path ? path : join(realOf(parent), basename(path));
  }
}

/** `inside` is what the links on the way lead to. */
function leadingElsewhere(given: string, inside: string): Refusal | undefined {
  if (refusalOf(given, inside) === undefined) return undefined;
  return [
    "heddle-file.writable",
    `${given} is a link that leads to ${inside === "" ? "the mesh's folder" : inside}, which applications must not write`,
    "make it a folder, or let the link lead to one whose name begins with a dot inside the mesh's folder",
  ];
}

function nesting(given: string, path: string, taken: readonly string[]): Refusal | undefined {
  const other = taken.find(
    (one) => one === path || path.startsWith(one + sep) || one.startsWith(path + sep),
  );
  if (other === undefined) return undefined;
  return ["heddle-file.writable", `${given} and ${other} contain one another`, "name one of them"];
}
