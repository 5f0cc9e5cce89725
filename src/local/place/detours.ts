/**
 * Ways around folders that applications may not enter. Under root they run as the owner of the mesh's
 * folder, or as nobody, and a checkout in root's home (mode 0700) would be closed to them. What they
 * need is put into an empty folder in the place of the closed one, in their own view of the files:
 * nothing else of it comes within reach, and what files themselves forbid stays forbidden.
 */
import { realpathSync, statSync } from "node:fs";
import { basename, delimiter, dirname, isAbsolute, join, sep } from "node:path";

export interface User {
  readonly uid: number;
  readonly gid: number;
}

/** A closed folder, and what inside of it is needed; none of these contains another. */
export interface Detour {
  readonly closed: string;
  readonly needed: readonly string[];
}

interface Ownership {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** What does not exist is left out: whoever uses it says so better. */
export function detoursTo(
  paths: readonly string[],
  user: User,
  ownershipOf: (path: string) => Ownership = statSync,
): readonly Detour[] {
  const byClosed = new Map<string, string[]>();
  for (const path of withoutNested(paths.flatMap(existing))) {
    const closed = ancestorsOf(path).find((folder) => !mayEnter(ownershipOf(folder), user));
    if (closed !== undefined) byClosed.set(closed, [...(byClosed.get(closed) ?? []), path]);
  }
  return [...byClosed].map(([closed, needed]) => ({ closed, needed }));
}

/** Folders that programs found by a PATH live in: `bin`, and the libraries beside it. */
export function programPlaces(path: string): readonly string[] {
  return path
    .split(delimiter)
    .filter((folder) => isAbsolute(folder))
    .flatMap((folder) =>
      basename(folder) === "bin" ? [folder, join(dirname(folder), "lib")] : [folder],
    );
}

function existing(path: string): readonly string[] {
  try {
    return [realpathSync(path)];
  } catch {
    return [];
  }
}

function withoutNested(paths: readonly string[]): readonly string[] {
  const all = [...new Set(paths)];
  return all.filter((path) => !all.some((other) => path.startsWith(other + sep)));
}

/** From the top down, without the path itself. */
function ancestorsOf(path: string): readonly string[] {
  const parent = dirname(path);
  return parent === path ? [] : [...ancestorsOf(parent), parent];
}

function mayEnter({ uid, gid, mode }: Ownership, user: User): boolean {
  const bit = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
  return (mode & bit) !== 0;
}
