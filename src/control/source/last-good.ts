/**
 * Decides which version of each resource acts: the last good one while its document is broken, and of
 * several that claim one name the one that acted before. A resource is forgotten when its document is
 * gone from a file that could be read whole; while the file, or the document, is broken, it stays.
 *
 * Versions of a security kind that disagree where none acted before are all refused: whoever reads
 * the result denies what they select.
 */
import type { Problem } from "../../base/problem.ts";
import type { BrokenResource, ConfigResource } from "../../model/config-resource.ts";
import { resourceKey } from "../../model/config-resource.ts";
import {
  brokenOf,
  contestedProblem,
  duplicateCode,
  duplicateProblem,
  saysTheSame,
} from "../../model/duplicates.ts";
import { isSecurityKind } from "../../model/kinds.ts";
import { type FoundFile, type FoundFiles, isBelow } from "./config-files.ts";

export interface MergedFiles {
  readonly resources: readonly ConfigResource[];
  readonly broken: readonly BrokenResource[];
  readonly problems: readonly Problem[];
}

/** Everything found under one name. */
interface Claim {
  /** In order of file and document. */
  readonly versions: ConfigResource[];
  readonly broken: { readonly file: string; readonly resource: BrokenResource }[];
}

export class LastGood {
  /** What acted after the last merge, by key. */
  #acting: Map<string, ConfigResource>;

  /** `earlier`: what acted when the folder was last looked at, perhaps by another process. */
  constructor(earlier: readonly ConfigResource[] = []) {
    this.#acting = new Map(earlier.map((resource) => [resourceKey(resource), resource]));
  }

  merge(found: FoundFiles): MergedFiles {
    const problems: Problem[] = [...found.problems];
    const acting = new Map<string, ConfigResource>();
    const broken: BrokenResource[] = [];
    const kept: ConfigResource[] = [];
    const files = new Map(found.files.map((file) => [file.name, file]));
    for (const { parsed } of found.files) {
      // Which of several acts is said below, where all files are known.
      problems.push(...parsed.problems.filter(({ code }) => code !== duplicateCode));
    }
    for (const [key, claim] of claimsOf(found.files)) {
      const earlier = this.#acting.get(key);
      const chosen = choose(claim, earlier, files);
      if (chosen !== undefined) acting.set(key, chosen);
      if (chosen !== undefined && !claim.versions.includes(chosen)) kept.push(chosen);
      problems.push(...refusals(claim, chosen));
      if (chosen === undefined) broken.push(...refusedOf(claim));
    }
    for (const [key, earlier] of this.#acting) {
      const file = files.get(earlier.source.file);
      const isUnread = isBelow(found.unread, earlier.source.file);
      if (acting.has(key) || (file === undefined && !isUnread) || file?.parsed.isComplete === true)
        continue;
      acting.set(key, earlier);
      kept.push(earlier);
    }
    problems.push(...kept.map(keptProblem));
    this.#acting = acting;
    const nameless = found.files.flatMap((file) => namelessOf(file, kept));
    return { resources: [...acting.values()], broken: [...broken, ...nameless], problems };
  }
}

function claimsOf(files: readonly FoundFile[]): ReadonlyMap<string, Claim> {
  const claims = new Map<string, Claim>();
  const claimOf = (key: string): Claim => {
    const claim = claims.get(key) ?? { versions: [], broken: [] };
    claims.set(key, claim);
    return claim;
  };
  for (const { name: file, parsed } of files) {
    const versions = [...parsed.resources, ...parsed.duplicates];
    for (const one of versions.toSorted((a, b) => a.source.line - b.source.line)) {
      claimOf(resourceKey(one)).versions.push(one);
    }
    for (const resource of parsed.broken) {
      const { kind, namespace, name } = resource;
      if (name === undefined) continue;
      claimOf(resourceKey({ kind, namespace, name })).broken.push({ file, resource });
    }
  }
  return claims;
}

/** The version that acts; undefined when none may. */
function choose(
  claim: Claim,
  earlier: ConfigResource | undefined,
  files: ReadonlyMap<string, FoundFile>,
): ConfigResource | undefined {
  const { versions, broken } = claim;
  const [first] = versions;
  if (first === undefined) return earlier;
  const isContested = broken.length > 0 || versions.some((one) => !saysTheSame(one, first));
  const mustAgree = isContested && isSecurityKind(first.kind);
  if (earlier === undefined) return mustAgree ? undefined : first;
  const { file } = earlier.source;
  const here = versions.filter((one) => one.source.file === file);
  const isSame = (one: ConfigResource): boolean => saysTheSame(one, earlier);
  const same =
    here.find(isSame) ?? (here.length === 0 || mustAgree ? versions.find(isSame) : undefined);
  if (same !== undefined) return same;
  if (mustAgree) return earlier;
  if (here[0] !== undefined) return here[0];
  const isBroken =
    broken.some((one) => one.file === file) || files.get(file)?.parsed.isComplete === false;
  return isBroken ? earlier : first;
}

function refusals(
  { versions, broken }: Claim,
  chosen: ConfigResource | undefined,
): readonly Problem[] {
  const isOneOfThem = chosen !== undefined && versions.includes(chosen);
  if (isOneOfThem) {
    const others = versions.filter((one) => one !== chosen);
    return others.map((one) => duplicateProblem(one, chosen.source));
  }
  const places = [...versions, ...broken.map(({ resource }) => resource)];
  return versions.flatMap((one) => {
    const other = places.find((place) => place !== one) ?? chosen;
    return other === undefined ? [] : [contestedProblem(one, other.source, chosen)];
  });
}

/** What is written under a name and may not act. Other kinds simply do nothing. */
function refusedOf({ versions, broken }: Claim): readonly BrokenResource[] {
  return [...versions.map(brokenOf), ...broken.map(({ resource }) => resource)];
}

/** A document that does not tell its name may be any of its kind that its file still holds. */
function namelessOf(
  { name, parsed }: FoundFile,
  kept: readonly ConfigResource[],
): BrokenResource[] {
  const own = kept.filter((resource) => resource.source.file === name);
  return parsed.broken.filter(
    (one) => one.name === undefined && !own.some(({ kind }) => kind === one.kind),
  );
}

function keptProblem({ kind, namespace, name, source }: ConfigResource): Problem {
  return {
    code: "config.last-good-serves",
    severity: "warning",
    path: "",
    message: "its document cannot be read now; the last good version keeps serving",
    hint: "mend the document, or remove it to remove the resource",
    source,
    resource: { kind, namespace, name },
  };
}
