/**
 * Reads mappings of a YAML tree field by field. Whatever is wrong becomes a problem with its place;
 * fields nobody asked for are reported by `finish()`.
 */
import type { Problem, SourcePosition } from "../../base/problem.ts";
import type { YamlEntry, YamlMapping, YamlNode } from "../../model/yaml.ts";

export class FieldReader {
  readonly position: SourcePosition;
  readonly path: string;
  readonly problems: Problem[];
  readonly #entries: ReadonlyMap<string, YamlEntry>;
  readonly #asked = new Set<string>();

  constructor(node: YamlMapping, path: string, problems: Problem[]) {
    this.position = node.position;
    this.path = path;
    this.problems = problems;
    this.#entries = new Map(node.entries.map((entry) => [entry.key, entry]));
  }

  /** The node of a field; undefined when it is absent or null. */
  node(key: string): YamlNode | undefined {
    this.#asked.add(key);
    const value = this.#entries.get(key)?.value;
    return value?.kind === "scalar" && value.value === null ? undefined : value;
  }

  /** Where a field's value stands; the mapping itself when it is absent. */
  positionOf(key: string): SourcePosition {
    return this.#entries.get(key)?.value.position ?? this.position;
  }

  /** Where each entry of a mapping, or each item of a list of `NAME=VALUE`, stands, by name. */
  positionsIn(key: string): Readonly<Record<string, SourcePosition>> {
    const node = this.#entries.get(key)?.value;
    if (node?.kind === "mapping") {
      return Object.fromEntries(node.entries.map((one) => [one.key, one.keyPosition]));
    }
    if (node?.kind !== "sequence") return {};
    return Object.fromEntries(
      node.items.flatMap((item) =>
        item.kind === "scalar" ? [[item.text.split("=")[0] ?? "", item.position]] : [],
      ),
    );
  }

  string(key: string): string | undefined {
    const node = this.node(key);
    if (node === undefined) return undefined;
    if (node.kind === "scalar") return node.text;
    this.#wrongType(node, key, "a text");
    return undefined;
  }

  /** An integer from `min` to `max`. */
  integer(key: string, min: number, max: number): number | undefined {
    const node = this.node(key);
    if (node === undefined) return undefined;
    const value = node.kind === "scalar" ? Number(node.text) : Number.NaN;
    if (Number.isInteger(value) && value >= min && value <= max) return value;
    this.#wrongType(node, key, `a whole number from ${min} to ${max}`);
    return undefined;
  }

  mapping(key: string): FieldReader | undefined {
    const node = this.node(key);
    if (node === undefined) return undefined;
    if (node.kind === "mapping") return new FieldReader(node, this.#pathOf(key), this.problems);
    this.#wrongType(node, key, "a mapping");
    return undefined;
  }

  /** Items of a list of mappings; others are problems. */
  mappings(key: string): readonly FieldReader[] {
    const readers: FieldReader[] = [];
    for (const [index, item] of this.#items(key).entries()) {
      const path = `${this.#pathOf(key)}[${index}]`;
      if (item.kind === "mapping") readers.push(new FieldReader(item, path, this.problems));
      else this.#wrongType(item, `${key}[${index}]`, "a mapping");
    }
    return readers;
  }

  strings(key: string): readonly string[] {
    const texts: string[] = [];
    for (const [index, item] of this.#items(key).entries()) {
      if (item.kind === "scalar") texts.push(item.text);
      else this.#wrongType(item, `${key}[${index}]`, "a text");
    }
    return texts;
  }

  /** A mapping of texts, such as labels. */
  texts(key: string): Readonly<Record<string, string>> {
    const node = this.node(key);
    if (node === undefined) return {};
    if (node.kind !== "mapping") {
      this.#wrongType(node, key, "a mapping of texts");
      return {};
    }
    const pairs: [string, string][] = [];
    for (const { key: name, value } of node.entries) {
      if (value.kind !== "scalar") this.#wrongType(value, `${key}.${name}`, "a text");
      else pairs.push([name, value.value === null ? "" : value.text]);
    }
    return Object.fromEntries(pairs);
  }

  /** Whether a field is written, whatever it holds; does not make it a known one. */
  has(key: string): boolean {
    return this.#entries.has(key);
  }

  /** Names of all fields, as written. */
  keys(): readonly string[] {
    return [...this.#entries.keys()];
  }

  /** Reports the fields that nobody asked for. */
  finish(known: readonly string[] = []): void {
    for (const entry of this.#entries.values()) {
      if (this.#asked.has(entry.key) || known.includes(entry.key)) continue;
      this.#report({
        code: "heddle-file.unknown-field",
        message: `${entry.key} is not a field here`,
        path: this.#pathOf(entry.key),
        source: entry.keyPosition,
        hint: `known: ${[...this.#asked].toSorted().join(", ")}`,
      });
    }
  }

  /** A problem at a field, or at the whole mapping when the field is absent. */
  refuse(key: string, code: string, message: string, hint?: string): void {
    this.#report(this.#problemAt(key, code, message, hint));
  }

  /** As `refuse`, for what leaves the file usable. */
  warn(key: string, code: string, message: string, hint?: string): void {
    this.problems.push({ severity: "warning", ...this.#problemAt(key, code, message, hint) });
  }

  // oxlint-disable-next-line max-params -- what a problem is made of
  #problemAt(
    key: string,
    code: string,
    message: string,
    hint: string | undefined,
  ): Omit<Problem, "severity"> {
    const source = this.positionOf(key);
    const path = key === "" ? this.path : this.#pathOf(key);
    return { code, message, path, source, ...(hint === undefined ? {} : { hint }) };
  }

  #items(key: string): readonly YamlNode[] {
    const node = this.node(key);
    if (node === undefined) return [];
    if (node.kind === "sequence") return node.items;
    this.#wrongType(node, key, "a list");
    return [];
  }

  #pathOf(key: string): string {
    return this.path === "" ? key : `${this.path}.${key}`;
  }

  #wrongType(node: YamlNode, key: string, wanted: string): void {
    const found = node.kind === "scalar" ? JSON.stringify(node.text) : `a ${node.kind}`;
    this.#report({
      code: "heddle-file.type",
      message: `${key} must be ${wanted}, not ${found}`,
      path: this.#pathOf(key),
      source: node.position,
    });
  }

  #report(problem: Omit<Problem, "severity">): void {
    this.problems.push({ severity: "error", ...problem });
  }
}
