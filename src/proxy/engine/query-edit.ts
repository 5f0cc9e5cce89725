/**
 * Changes to the parameters of a query, as Envoy makes them: the rest come out sorted by name, but as
 * they were written. Envoy writes them decoded, blanks and line ends included.
 */
import {
  KeyValueAppend_KeyValueAppendAction as Action,
  type KeyValueMutation,
} from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import { refuse } from "./refusal.ts";
import { splitPath } from "./request-path.ts";

/** From a path with its query to another. */
export type QueryEdit = (path: string) => string;

/** Pairs as they are written, by decoded name. */
type Parameters = Map<string, readonly string[]>;
type Change = (parameters: Parameters) => void;

/** Undefined where nothing changes. */
export function compileQueryEdit(
  mutations: readonly KeyValueMutation[],
  path: string,
): QueryEdit | undefined {
  if (mutations.length === 0) return undefined;
  const changes = mutations.flatMap((one, i) => compileChange(one, `${path}[${i}]`));
  return (text) => {
    const [place, query] = splitPath(text);
    const parameters = parse(query, decoded);
    for (const change of changes) change(parameters);
    return withQuery(place, parameters);
  };
}

export interface QueryChanges {
  readonly set: readonly (readonly [name: string, value: string])[];
  readonly remove: readonly string[];
}

/** What stands in a path as it is: nothing that ends it. */
const isVisible = /^[!"$-~]*$/;

export function canStandInQuery(text: string): boolean {
  return isVisible.test(text);
}

/** Names and values as they stand in the query, by what an authorization service says. */
export function changeQuery(text: string, { set, remove }: QueryChanges): string {
  const [place, query] = splitPath(text);
  const parameters = parse(query, (name) => name);
  for (const [name, value] of set) parameters.set(name, [`${name}=${value}`]);
  for (const name of remove) parameters.delete(name);
  return withQuery(place, parameters);
}

function withQuery(place: string, parameters: Parameters): string {
  const pairs = [...parameters.entries()]
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, written]) => written);
  return pairs.length === 0 ? place : `${place}?${pairs.join("&")}`;
}

function compileChange({ append, remove }: KeyValueMutation, path: string): readonly Change[] {
  const changes: Change[] = [];
  if (remove !== "") changes.push((parameters) => void parameters.delete(remove));
  if (append !== undefined) {
    const { record, action } = append;
    const value: unknown = record?.value;
    if (record === undefined || record.key === "" || typeof value !== "string") {
      return refuse(`${path}.append.record`, "needs a key and a text");
    }
    if (!isPlain.test(record.key + value)) {
      refuse(`${path}.append.record`, "holds what must be escaped in a query");
    }
    changes.push(addition(record.key, value, action));
  }
  return changes.length === 0 ? refuse(path, "changes nothing") : changes;
}

/** What stands in a query as it is. */
const isPlain = /^[!$'()*+,\-./0-9:;?@A-Z_a-z~%]*$/;

function addition(name: string, value: string, action: Action): Change {
  const pair = `${name}=${value}`;
  return (parameters) => {
    const before = parameters.get(name);
    if (action === Action.ADD_IF_ABSENT && before !== undefined) return;
    if (action === Action.OVERWRITE_IF_EXISTS && before === undefined) return;
    const appends = action === Action.APPEND_IF_EXISTS_OR_ADD;
    parameters.set(name, appends ? [...(before ?? []), pair] : [pair]);
  };
}

function parse(query: string, nameOf: (written: string) => string): Parameters {
  const parameters: Parameters = new Map();
  const pairs = query.slice(1).split("&");
  // As Envoy: nothing between two of these is a parameter without a name, behind the last it is none.
  if (pairs.at(-1) === "") pairs.pop();
  for (const pair of pairs) {
    const equals = pair.indexOf("=");
    const name = nameOf(equals < 0 ? pair : pair.slice(0, equals));
    const written = equals < 0 ? `${pair}=` : pair;
    parameters.set(name, [...(parameters.get(name) ?? []), written]);
  }
  return parameters;
}

/** Escapes that are none stay as they are. */
function decoded(text: string): string {
  return text.replaceAll(/%[0-9A-Fa-f]{2}/g, (escape) =>
    String.fromCharCode(Number.parseInt(escape.slice(1), 16)),
  );
}
