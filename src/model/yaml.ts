/**
 * YAML (and JSON, its subset) as a tree in which every node knows its place in the file. Scalars are
 * read as Kubernetes reads them: YAML 1.1 booleans and octal numbers, dates stay text.
 *
 * Nothing here knows what the documents mean. Sizes, depth, aliases and merged keys are bounded, so
 * that a hostile file costs no more than an honest one; what is refused is a problem with a place.
 */
import type { Event, ScalarEvent } from "js-yaml";
import { dump, EVENT_ID, getScalarValue, parseEvents, SCALAR_STYLE, YAMLException } from "js-yaml";

import type { Problem, SourcePosition } from "../base/problem.ts";
import { resolvePlainScalar } from "./yaml-scalar.ts";

export type YamlNode = YamlScalar | YamlSequence | YamlMapping;

export interface YamlScalar {
  readonly kind: "scalar";
  readonly value: string | number | boolean | null;
  /** As written, without quotes. */
  readonly text: string;
  readonly position: SourcePosition;
}

export interface YamlSequence {
  readonly kind: "sequence";
  readonly items: readonly YamlNode[];
  readonly position: SourcePosition;
}

export interface YamlMapping {
  readonly kind: "mapping";
  readonly entries: readonly YamlEntry[];
  readonly position: SourcePosition;
}

export interface YamlEntry {
  readonly key: string;
  readonly keyPosition: SourcePosition;
  readonly value: YamlNode;
}

/** One document of a file. `root` is undefined when its text is broken or empty. */
export interface YamlDocument {
  readonly root: YamlNode | undefined;
  readonly text: string;
  readonly position: SourcePosition;
  readonly isBroken: boolean;
}

export interface YamlFile {
  readonly documents: readonly YamlDocument[];
  readonly problems: readonly Problem[];
}

export interface YamlLimits {
  readonly fileCharactersMax: number;
  readonly documentCharactersMax: number;
  readonly documentsMax: number;
  readonly depthMax: number;
  readonly aliasesMax: number;
  /** Nodes of one document, with aliases counted as often as they are used. */
  readonly nodesMax: number;
}

export const yamlLimits: YamlLimits = {
  fileCharactersMax: 4 * 1024 * 1024,
  documentCharactersMax: 1024 * 1024,
  documentsMax: 10_000,
  depthMax: 64,
  aliasesMax: 100,
  nodesMax: 100_000,
};

/** Parses every document of `text`; a broken one does not keep the others from being read. */
export function parseYaml(text: string, file: string): YamlFile {
  const problems: Problem[] = [];
  const start: SourcePosition = { file, line: 1, column: 1 };
  if (text.length > yamlLimits.fileCharactersMax) {
    problems.push({
      code: "yaml.file-too-large",
      severity: "error",
      path: "",
      message: `the file has ${text.length} characters, more than ${yamlLimits.fileCharactersMax}`,
      hint: "split it into several files",
      source: start,
    });
    return { documents: [], problems };
  }
  const documents: YamlDocument[] = [];
  const lines = new LineIndex(text, file);
  for (const chunk of splitDocuments(text)) {
    if (documents.length >= yamlLimits.documentsMax) {
      problems.push({
        code: "yaml.too-many-documents",
        severity: "error",
        path: "",
        message: `the file has more than ${yamlLimits.documentsMax} documents; the rest is not read`,
        source: lines.at(chunk.start),
      });
      break;
    }
    const document = parseChunk(text.slice(chunk.start, chunk.end), chunk.start, lines, problems);
    if (document !== undefined) documents.push(document);
  }
  return { documents, problems };
}

/** The value without places, as `JSON.parse` would give it; a key `__proto__` is only a key. */
export function plainValue(node: YamlNode): unknown {
  switch (node.kind) {
    case "scalar":
      return node.value;
    case "sequence":
      return node.items.map(plainValue);
    case "mapping":
      return Object.fromEntries(node.entries.map((entry) => [entry.key, plainValue(entry.value)]));
  }
}

/** YAML text that reads as the same node again; comments and style are lost. */
export function dumpNode(node: YamlNode): string {
  // All text in quotes: what is text to js-yaml may be a number to Kubernetes (`1_000`).
  return dump(plainValue(node), { lineWidth: 100, noRefs: true, forceQuotes: true });
}

/** The value of a key of a mapping; undefined for other nodes, absent keys and explicit nulls. */
export function yamlField(node: YamlNode | undefined, key: string): YamlNode | undefined {
  if (node?.kind !== "mapping") return undefined;
  const value = node.entries.find((entry) => entry.key === key)?.value;
  return value?.kind === "scalar" && value.value === null ? undefined : value;
}

interface Chunk {
  readonly start: number;
  readonly end: number;
}

// A line that begins with `---` ends a document wherever it stands, also inside a block scalar (YAML
// 1.2.2 §9.1.2), so cutting there before parsing is exact. Directives stay with what follows them.
function splitDocuments(text: string): Chunk[] {
  const chunks: Chunk[] = [];
  const marker = /^---(?=\s|$)/gm;
  let start = 0;
  for (const match of text.matchAll(marker)) {
    const before = text.slice(start, match.index);
    if (/^%/m.test(before) && /^(?:[ \t]*(?:#.*)?\n|%.*\n)*$/.test(before)) continue;
    if (match.index > start) chunks.push({ start, end: match.index });
    start = match.index;
  }
  chunks.push({ start, end: text.length });
  return chunks;
}

function parseChunk(
  text: string,
  offset: number,
  lines: LineIndex,
  problems: Problem[],
): YamlDocument | undefined {
  const position = lines.at(offset);
  const broken: YamlDocument = { root: undefined, text, position, isBroken: true };
  const refuse = (code: RefusalCode, message: string, at: SourcePosition): YamlDocument => {
    const hint = remedies[code];
    problems.push({ code, severity: "error", path: "", message, hint, source: at });
    return broken;
  };
  if (text.length > yamlLimits.documentCharactersMax) {
    const max = yamlLimits.documentCharactersMax;
    return refuse(
      "yaml.document-too-large",
      `the document has more than ${max} characters`,
      position,
    );
  }
  try {
    const events = parseEvents(text, { maxDepth: yamlLimits.depthMax });
    const root = new TreeBuilder(text, offset, lines).build(events);
    if (root === undefined || (root.kind === "scalar" && root.value === null)) return undefined;
    return { root, text, position: root.position, isBroken: false };
  } catch (error) {
    if (error instanceof YamlRefusal) return refuse(error.code, error.message, error.position);
    if (error instanceof YAMLException) {
      const at = lines.at(offset + Math.min(error.mark?.position ?? 0, text.length));
      return refuse("yaml.syntax", error.reason, at);
    }
    throw error;
  }
}

const remedies = {
  "yaml.syntax": "compare indentation, brackets and quotes there and on the lines above",
  "yaml.document-too-large": "split it into several documents",
  "yaml.key": "write the key as text, in quotes if need be",
  "yaml.duplicate-key": "keep one of them",
  "yaml.merge": "name an anchored mapping after <<, or write its fields out",
  "yaml.too-many-aliases": "write the values out",
  "yaml.unknown-alias": "set the anchor before its first use, or write the value out",
  "yaml.too-many-nodes": "split the document, and use fewer aliases",
} as const;

type RefusalCode = keyof typeof remedies;

class YamlRefusal extends Error {
  readonly code: RefusalCode;
  readonly position: SourcePosition;

  constructor(code: RefusalCode, message: string, position: SourcePosition) {
    super(message);
    this.code = code;
    this.position = position;
  }
}

interface Anchored {
  readonly node: YamlNode;
  readonly weight: number;
}

/** Turns parse events into nodes, counting every node as often as aliases repeat it. */
class TreeBuilder {
  readonly #text: string;
  readonly #offset: number;
  readonly #lines: LineIndex;
  readonly #anchors = new Map<string, Anchored>();
  #events: readonly Event[] = [];
  #next = 0;
  #nodes = 0;
  #aliases = 0;

  constructor(text: string, offset: number, lines: LineIndex) {
    this.#text = text;
    this.#offset = offset;
    this.#lines = lines;
  }

  build(events: readonly Event[]): YamlNode | undefined {
    this.#events = events;
    this.#next = 1; // the document event
    const first = this.#events[this.#next];
    if (first === undefined || first.type === EVENT_ID.POP) return undefined;
    const root = this.#node();
    this.#next += 1; // the end of the document
    const rest = this.#events[this.#next];
    if (rest !== undefined) {
      throw new YamlRefusal("yaml.syntax", "documents are separated by ---", root.position);
    }
    return root;
  }

  #node(): YamlNode {
    const event = this.#events[this.#next++];
    if (event === undefined) throw new YAMLException("the document ends early");
    const before = this.#nodes;
    switch (event.type) {
      case EVENT_ID.SCALAR:
        return this.#remember(event, this.#scalar(event), before);
      case EVENT_ID.SEQUENCE:
        return this.#remember(event, this.#sequence(event.start), before);
      case EVENT_ID.MAPPING:
        return this.#remember(event, this.#mapping(event.start), before);
      case EVENT_ID.ALIAS:
        return this.#alias(this.#text.slice(event.anchorStart, event.anchorEnd), event.anchorStart);
      case EVENT_ID.DOCUMENT:
      case EVENT_ID.POP:
        throw new YAMLException("the document ends early");
    }
  }

  #remember(
    event: { readonly anchorStart: number; readonly anchorEnd: number },
    node: YamlNode,
    before: number,
  ): YamlNode {
    if (event.anchorStart >= 0) {
      const name = this.#text.slice(event.anchorStart, event.anchorEnd);
      this.#anchors.set(name, { node, weight: this.#nodes - before });
    }
    return node;
  }

  #scalar(event: ScalarEvent): YamlScalar {
    const position = this.#at(event.valueStart);
    this.#count(1, position);
    const text = getScalarValue(this.#text, event);
    const tag = event.tagStart >= 0 ? this.#text.slice(event.tagStart, event.tagEnd) : "";
    const isPlain = event.style === SCALAR_STYLE.PLAIN && tag !== "!!str" && tag !== "!";
    return { kind: "scalar", value: isPlain ? resolvePlainScalar(text) : text, text, position };
  }

  #sequence(start: number): YamlSequence {
    const position = this.#at(start);
    this.#count(1, position);
    const items: YamlNode[] = [];
    while (!this.#isAtEnd()) items.push(this.#node());
    this.#next += 1;
    return { kind: "sequence", items, position };
  }

  #mapping(start: number): YamlMapping {
    const position = this.#at(start);
    this.#count(1, position);
    const entries = new Map<string, YamlEntry>();
    const merged: YamlNode[] = [];
    while (!this.#isAtEnd()) {
      const key = this.#node();
      const value = this.#node();
      if (key.kind !== "scalar") {
        throw new YamlRefusal("yaml.key", "a key must be a scalar", key.position);
      }
      if (key.text === "<<" && key.value === "<<") {
        merged.push(value);
      } else if (entries.has(key.text)) {
        throw new YamlRefusal("yaml.duplicate-key", `${key.text} is given twice`, key.position);
      } else {
        entries.set(key.text, { key: key.text, keyPosition: key.position, value });
      }
    }
    this.#next += 1;
    for (const node of merged) this.#merge(node, entries);
    return { kind: "mapping", entries: [...entries.values()], position };
  }

  #merge(from: YamlNode, entries: Map<string, YamlEntry>): void {
    for (const node of from.kind === "sequence" ? from.items : [from]) {
      if (node.kind !== "mapping") {
        throw new YamlRefusal("yaml.merge", "<< takes a mapping or a list of them", node.position);
      }
      this.#count(node.entries.length, node.position);
      for (const entry of node.entries) {
        if (!entries.has(entry.key)) entries.set(entry.key, entry);
      }
    }
  }

  #alias(name: string, start: number): YamlNode {
    const position = this.#at(start);
    this.#aliases += 1;
    if (this.#aliases > yamlLimits.aliasesMax) {
      const max = yamlLimits.aliasesMax;
      throw new YamlRefusal("yaml.too-many-aliases", `more than ${max} aliases`, position);
    }
    const anchored = this.#anchors.get(name);
    if (anchored === undefined) {
      throw new YamlRefusal("yaml.unknown-alias", `nothing is anchored as &${name}`, position);
    }
    this.#count(anchored.weight, position);
    return anchored.node;
  }

  #isAtEnd(): boolean {
    const event = this.#events[this.#next];
    return event === undefined || event.type === EVENT_ID.POP;
  }

  #count(nodes: number, position: SourcePosition): void {
    this.#nodes += nodes;
    if (this.#nodes > yamlLimits.nodesMax) {
      const max = yamlLimits.nodesMax;
      throw new YamlRefusal(
        "yaml.too-many-nodes",
        `the document has more than ${max} nodes`,
        position,
      );
    }
  }

  #at(offset: number): SourcePosition {
    return this.#lines.at(this.#offset + offset);
  }
}

class LineIndex {
  readonly #file: string;
  readonly #starts: number[] = [0];

  constructor(text: string, file: string) {
    this.#file = file;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) {
      this.#starts.push(at + 1);
    }
  }

  at(offset: number): SourcePosition {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { file: this.#file, line: low + 1, column: offset - (this.#starts[low] ?? 0) + 1 };
  }
}
