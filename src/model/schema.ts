/**
 * A small language for what configuration may look like: a `Type<T>` reads a YAML node into a `T`
 * and reports everything that is wrong, with its place, instead of stopping at the first mistake.
 *
 * Fields come in four sorts: honoured ones are decoded, old names of them too, with a warning; known ones
 * that are not honoured yet are refused with their effect named; all others are unknown. It knows nothing of Istio;
 * `kinds/` does.
 */
import type { Problem, ResourceRef, SourcePosition } from "../base/problem.ts";
import { nearestName } from "./nearest-name.ts";
import type { YamlMapping, YamlNode } from "./yaml.ts";

export interface Type<T> {
  /** For messages: "expected …". */
  readonly expects: string;
  /** Undefined when the node cannot be used; the place has then been told why. */
  decode(node: YamlNode, place: Place): T | undefined;
}

/** Collects what decoding one resource found. */
export class Findings {
  readonly problems: Problem[] = [];
  /** The node at each decoded path, for problems found later. */
  readonly positions: Map<string, SourcePosition> = new Map();
  readonly resource: ResourceRef | undefined;
  /** What becomes of the resource when something stops it, completing "…; ". */
  readonly whenUnsound: string;
  /** False once something was found without which the resource must not act. */
  isSound = true;

  constructor(resource?: ResourceRef, whenUnsound = "the resource is refused whole") {
    this.resource = resource;
    this.whenUnsound = whenUnsound;
  }
}

export interface Complaint {
  readonly code: string;
  readonly message: string;
  readonly hint?: string | undefined;
  /** Warnings, and errors whose field can be left out alone, do not stop the resource. */
  readonly severity?: "error" | "warning";
  readonly isSeparable?: boolean;
}

/** Where decoding is: a path such as `spec.http[0].route[1].weight`, and where its findings go. */
export class Place {
  readonly findings: Findings;
  readonly path: string;

  constructor(findings: Findings, path: string) {
    this.findings = findings;
    this.path = path;
  }

  field(name: string): Place {
    const quoted = /^[A-Za-z0-9_-]+$/.test(name) ? name : JSON.stringify(name);
    return new Place(this.findings, this.path === "" ? quoted : `${this.path}.${quoted}`);
  }

  item(index: number): Place {
    return new Place(this.findings, `${this.path}[${index}]`);
  }

  complain(position: SourcePosition, complaint: Complaint): undefined {
    const severity = complaint.severity ?? "error";
    if (severity === "error" && complaint.isSeparable !== true) this.findings.isSound = false;
    this.findings.problems.push({
      code: complaint.code,
      severity,
      path: this.path,
      message: complaint.message,
      source: position,
      ...(complaint.hint === undefined ? {} : { hint: complaint.hint }),
      ...(this.findings.resource === undefined ? {} : { resource: this.findings.resource }),
    });
    return undefined;
  }
}

/** What happens without a field that is known but not honoured. */
export interface Unhonoured {
  /** What the field would do, completing "not honoured: …". */
  readonly effect: string;
  /** `acts`: the rest is sound without it; `stops`: the whole resource is refused. */
  readonly rest: "acts" | "stops";
  /** Fields that are not missing where this one stands in their place. */
  readonly replaces?: readonly string[];
}

export type FieldTypes<T> = {
  readonly [Key in keyof T]-?: undefined extends T[Key]
    ? Type<Exclude<T[Key], undefined>>
    : Type<Exclude<T[Key], undefined>> & { readonly isRequired?: boolean };
};

/** What an old name says for its successor; where both are written, the successor counts. */
export type RenamedField<T> = {
  readonly [Key in keyof T & string]-?: {
    readonly successor: Key;
    /** Of what is written under the old name, which may differ from the successor's. */
    readonly type: Type<Exclude<T[Key], undefined>>;
    /** What to write, completing "write …". */
    readonly instead: string;
  };
}[keyof T & string];

export interface ObjectOptions<T> {
  readonly required?: readonly (keyof T & string)[];
  readonly unhonoured?: Readonly<Record<string, Unhonoured>>;
  /** Old names that act no more: `targetPort` → what to write instead. */
  readonly deprecated?: Readonly<Record<string, string>>;
  /** Old names that still act, as their successors do: `mirrorPercent`. Each use is a warning. */
  readonly renamed?: Readonly<Record<string, RenamedField<T>>>;
  /** Old names that istiod still takes and does nothing with, as we do: what to write instead. Each use is a warning. */
  readonly idle?: Readonly<Record<string, string>>;
  /** At most one of each group may be set. */
  readonly oneOf?: readonly (readonly (keyof T & string)[])[];
  /** Exactly one of each group must be set. */
  readonly exactlyOneOf?: readonly (readonly (keyof T & string)[])[];
  /** Rules between fields, called with what could be decoded. */
  readonly check?: (value: Partial<T>, node: YamlNode, place: Place) => void;
}

interface Known<T> {
  readonly types: ReadonlyMap<string, unknown>;
  readonly options: ObjectOptions<T>;
}

/** A mapping with known fields. Null means absent, as in Kubernetes. */
export function object<T>(fields: FieldTypes<T>, options: ObjectOptions<T> = {}): Type<T> {
  const types = new Map<string, Type<unknown>>(Object.entries(fields));
  return {
    expects: "a mapping",
    decode(node, place) {
      if (node.kind !== "mapping") return wrongType(node, place, "a mapping");
      const value: Record<string, unknown> = renamedValues(node, place, options.renamed ?? {});
      for (const entry of node.entries) {
        const at = place.field(entry.key);
        if (entry.value.kind === "scalar" && entry.value.value === null) continue;
        const type = types.get(entry.key);
        if (type === undefined && Object.hasOwn(options.renamed ?? {}, entry.key)) continue;
        if (type === undefined) {
          complainAboutField(entry.key, entry.keyPosition, at, { types, options });
          continue;
        }
        place.findings.positions.set(at.path, entry.value.position);
        const decoded = type.decode(entry.value, at);
        if (decoded !== undefined) value[entry.key] = decoded;
      }
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a decoder: keys are keyof T
      const partial = value as Partial<T>;
      checkGroups(partial, node, place, { types, options });
      options.check?.(partial, node, place);
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- required fields were checked
      return partial as T;
    },
  };
}

/** What old names say, under the names of their successors. */
function renamedValues<T>(
  node: YamlMapping,
  place: Place,
  renamed: Readonly<Record<string, RenamedField<T>>>,
): Record<string, unknown> {
  const value: Record<string, unknown> = {};
  for (const entry of node.entries.filter(isPresent)) {
    const field = Object.hasOwn(renamed, entry.key) ? renamed[entry.key] : undefined;
    if (field === undefined) continue;
    const { successor, type, instead } = field;
    const at = place.field(entry.key);
    const isBeside = node.entries.some((one) => one.key === successor && isPresent(one));
    place.findings.positions.set(at.path, entry.value.position);
    at.complain(entry.keyPosition, {
      code: "config.deprecated-field",
      severity: "warning",
      message: isBeside
        ? `${entry.key} is deprecated, and ${successor} beside it counts`
        : `${entry.key} is deprecated; it acts as ${successor}`,
      hint: isBeside ? `take ${entry.key} out` : `write ${instead}`,
    });
    const decoded = type.decode(entry.value, at);
    if (isBeside || decoded === undefined) continue;
    place.findings.positions.set(place.field(successor).path, entry.value.position);
    value[successor] = decoded;
  }
  return value;
}

/** A list; an item that cannot be used makes its resource unsound and is left out. */
export function list<T>(type: Type<T>, limits: { readonly min?: number } = {}): Type<readonly T[]> {
  return {
    expects: "a list",
    decode(node, place) {
      if (node.kind !== "sequence") return wrongType(node, place, "a list");
      if (node.items.length < (limits.min ?? 0)) {
        const message = `needs at least ${limits.min} item${limits.min === 1 ? "" : "s"}`;
        place.complain(node.position, { code: "config.too-few", message });
      }
      const values: T[] = [];
      for (const [index, item] of node.items.entries()) {
        const at = place.item(index);
        place.findings.positions.set(at.path, item.position);
        const value = type.decode(item, at);
        if (value !== undefined) values.push(value);
      }
      return values;
    },
  };
}

/** A mapping from any name to one type. */
export function record<T>(type: Type<T>): Type<Readonly<Record<string, T>>> {
  return {
    expects: "a mapping",
    decode(node, place) {
      if (node.kind !== "mapping") return wrongType(node, place, "a mapping");
      const entries: [string, T][] = [];
      for (const entry of node.entries) {
        const at = place.field(entry.key);
        place.findings.positions.set(at.path, entry.value.position);
        const value = type.decode(entry.value, at);
        if (value !== undefined) entries.push([entry.key, value]);
      }
      return Object.fromEntries(entries);
    },
  };
}

/** Decodes with `type`, then converts; `convert` complains itself and returns undefined. */
export function refine<From, To>(
  type: Type<From>,
  convert: (value: From, node: YamlNode, place: Place) => To | undefined,
  expects: string = type.expects,
): Type<To> {
  return {
    expects,
    decode(node, place) {
      const value = type.decode(node, place);
      return value === undefined ? undefined : convert(value, node, place);
    },
  };
}

export function wrongType(node: YamlNode, place: Place, expected: string): undefined {
  return place.complain(node.position, {
    code: "config.wrong-type",
    message: `expected ${expected}, got ${describe(node)}`,
    hint: remedyOf(expected, node),
  });
}

function remedyOf(expected: string, node: YamlNode): string {
  if (node.kind === "scalar" && expected === "text") return `write "${node.text}"`;
  if (node.kind === "scalar" && expected === "a list") return `write [${node.text}]`;
  return `write ${expected}`;
}

function describe(node: YamlNode): string {
  if (node.kind !== "scalar") return node.kind === "mapping" ? "a mapping" : "a list";
  if (node.value === null) return "nothing";
  return `${typeof node.value === "string" ? "text" : typeof node.value} ${JSON.stringify(node.value)}`;
}

function complainAboutField<T>(
  name: string,
  position: SourcePosition,
  place: Place,
  known: Known<T>,
): void {
  const unhonoured = known.options.unhonoured ?? {};
  const deprecated = known.options.deprecated ?? {};
  const refusal = Object.hasOwn(unhonoured, name) ? unhonoured[name] : undefined;
  if (refusal !== undefined) {
    const consequence =
      refusal.rest === "acts" ? "the rest of the resource acts" : place.findings.whenUnsound;
    place.complain(position, {
      code: "config.not-honoured",
      message: `${name} is not honoured yet (${refusal.effect}); ${consequence}`,
      hint: `take ${name} out`,
      isSeparable: refusal.rest === "acts",
    });
    return;
  }
  if (Object.hasOwn(deprecated, name)) {
    const instead = deprecated[name];
    place.complain(position, {
      code: "config.deprecated-field",
      message: `${name} is deprecated and not honoured`,
      hint: `write ${instead} instead`,
    });
    return;
  }
  const { idle = {} } = known.options;
  if (Object.hasOwn(idle, name)) {
    place.complain(position, {
      code: "config.no-effect",
      severity: "warning",
      message: `${name} does nothing any more, as in Istio`,
      hint: `write ${idle[name]} instead`,
    });
    return;
  }
  const names = [...known.types.keys(), ...Object.keys(unhonoured)];
  const near = nearestName(name, names);
  place.complain(position, {
    code: "config.unknown-field",
    message: `unknown field ${name}`,
    hint: near === undefined ? `known fields: ${names.join(", ")}` : `did you mean ${near}?`,
  });
}

function checkGroups<T>(value: Partial<T>, node: YamlNode, place: Place, known: Known<T>): void {
  const { options } = known;
  const written = node.kind === "mapping" ? node.entries.filter(isPresent) : [];
  const given = new Set(written.flatMap(({ key }) => [key, ...standsFor(key, known)]));
  for (const name of options.required ?? []) {
    if (value[name] !== undefined || given.has(name)) continue;
    place.complain(node.position, { code: "config.missing", message: `${name} is missing` });
  }
  for (const group of [...(options.oneOf ?? []), ...(options.exactlyOneOf ?? [])]) {
    const present = group.filter((name) => written.some(({ key }) => key === name));
    if (present.length < 2) continue;
    const message = `${present.join(" and ")} exclude each other`;
    place.complain(node.position, { code: "config.conflict", message, hint: "keep one of them" });
  }
  for (const group of options.exactlyOneOf ?? []) {
    if (group.some((name) => given.has(name))) continue;
    const message = `one of ${group.join(", ")} is needed`;
    place.complain(node.position, { code: "config.missing", message });
  }
}

/** What a refused field was written for: its own complaint says enough. */
function standsFor<T>(key: string, { types, options }: Known<T>): readonly string[] {
  const { unhonoured = {}, renamed = {}, required = [], exactlyOneOf = [] } = options;
  if (types.has(key)) return [];
  const successor = Object.hasOwn(renamed, key) ? renamed[key]?.successor : undefined;
  if (successor !== undefined) return [successor];
  if (Object.hasOwn(unhonoured, key)) return unhonoured[key]?.replaces ?? [];
  const near = nearestName(key, [...required, ...exactlyOneOf.flat()]);
  return near === undefined ? exactlyOneOf.flat() : [near];
}

function isPresent(entry: { readonly value: YamlNode }): boolean {
  return !(entry.value.kind === "scalar" && entry.value.value === null);
}
