/** Reads test/conformance/known-differences.md. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export interface KnownDifference {
  readonly title: string;
  readonly text: string;
  readonly probes: readonly string[];
  readonly responses: readonly string[];
  /** Of the PROXY protocol. */
  readonly headers: readonly string[];
  readonly scenarios: readonly string[];
  /** Of `test/conformance/auth`. */
  readonly tokens: readonly string[];
  /** Of `test/conformance/balancing/cipher-order.test.ts`. */
  readonly ciphers: readonly string[];
  readonly tests: readonly string[];
}

export function readKnownDifferences(): readonly KnownDifference[] {
  const file = join(import.meta.dirname, "..", "known-differences.md");
  const [, ...sections] = readFileSync(file, "utf8").split(/^## /m);
  return sections.map((section) => ({
    title: section.split("\n", 1)[0] ?? "",
    text: section,
    probes: listIn(section, "Probes"),
    responses: listIn(section, "Responses"),
    headers: listIn(section, "PROXY headers"),
    scenarios: listIn(section, "Scenarios"),
    tokens: listIn(section, "Tokens"),
    ciphers: listIn(section, "Ciphers"),
    tests: listIn(section, "Test"),
  }));
}

/** What stands in back quotes in the item of this name. */
function listIn(section: string, name: string): readonly string[] {
  const item = new RegExp(`^- ${name}: ((?:.|\\n(?!- ))*)`, "m").exec(section)?.[1] ?? "";
  return [...item.matchAll(/`([^`]+)`/g)].map(([, found = ""]) => found);
}
