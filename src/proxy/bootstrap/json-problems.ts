/**
 * All that is wrong with the JSON of a message, each with its place: the decoder stops at the first
 * and knows fields, not places. Slow, and run only once a file is known to be broken.
 */
import {
  type DescField,
  type DescMessage,
  fromJson,
  type JsonValue,
  type Registry,
} from "@bufbuild/protobuf";

import { messageOf } from "../../base/error.ts";

export interface JsonProblem {
  readonly path: JsonPath;
  readonly reason: string;
}

export type JsonPath = readonly (string | number)[];

interface Walk {
  readonly registry: Registry;
  readonly problems: JsonProblem[];
}

export function findJsonProblems(
  schema: DescMessage,
  json: unknown,
  registry: Registry,
): readonly JsonProblem[] {
  const problems: JsonProblem[] = [];
  walk(schema, json, [], { registry, problems });
  return problems;
}

const anyType = "google.protobuf.Any";

function walk(schema: DescMessage, json: unknown, path: JsonPath, to: Walk): void {
  if (schema.typeName === anyType) {
    walkAny(json, path, to);
    return;
  }
  if (schema.typeName.startsWith("google.protobuf.")) {
    tryValue(schema, json, path, to);
    return;
  }
  if (!isRecord(json)) {
    to.problems.push({ path, reason: `must be an object (${schema.typeName})` });
    return;
  }
  const oneofs = new Map<string, string>();
  for (const [key, value] of Object.entries(json)) {
    const field = schema.fields.find(({ name, jsonName }) => name === key || jsonName === key);
    const place = [...path, key];
    if (field === undefined) {
      to.problems.push({ path: place, reason: `${schema.typeName} has no field '${key}'` });
      continue;
    }
    if (value === null) continue;
    const { oneof } = field;
    const other = oneof === undefined ? undefined : oneofs.get(oneof.name);
    if (other !== undefined) {
      to.problems.push({ path: place, reason: `excludes '${other}', which is set as well` });
    }
    if (oneof !== undefined) oneofs.set(oneof.name, key);
    walkField(schema, field, { key, value }, { path: place, to });
  }
}

function walkField(
  schema: DescMessage,
  field: DescField,
  entry: { readonly key: string; readonly value: unknown },
  at: { readonly path: JsonPath; readonly to: Walk },
): void {
  const { key, value } = entry;
  const { path, to } = at;
  const inner = field.message;
  if (field.fieldKind === "message") {
    walk(field.message, value, path, to);
  } else if (field.fieldKind === "list" && inner !== undefined && Array.isArray(value)) {
    for (const [i, item] of value.entries()) walk(inner, item, [...path, i], to);
  } else if (field.fieldKind === "map" && inner !== undefined && isRecord(value)) {
    for (const [name, item] of Object.entries(value)) walk(inner, item, [...path, name], to);
  } else {
    tryValue(schema, { [key]: value }, path, to);
  }
}

function walkAny(json: unknown, path: JsonPath, to: Walk): void {
  if (!isRecord(json)) {
    to.problems.push({ path, reason: 'must be an object with "@type"' });
    return;
  }
  const type = json["@type"];
  if (typeof type !== "string") {
    if (Object.keys(json).length > 0) to.problems.push({ path, reason: '"@type" is missing' });
    return;
  }
  const name = type.slice(type.lastIndexOf("/") + 1);
  const schema = to.registry.getMessage(name);
  if (schema === undefined) {
    to.problems.push({ path: [...path, "@type"], reason: `'${name}' is not supported` });
    return;
  }
  const { "@type": _, ...rest } = json;
  // A well-known type stands in a field of its own.
  if (name.startsWith("google.protobuf.")) walk(schema, rest["value"], path, to);
  else walk(schema, rest, path, to);
}

function tryValue(
  schema: DescMessage,
  json: unknown,
  path: JsonPath,
  { registry, problems }: Walk,
): void {
  try {
    // The parser makes plain JSON values of a file without custom tags.
    fromJson(schema, json as JsonValue, { registry });
  } catch (thrown) {
    const reason = messageOf(thrown).replace(/^cannot decode field \S+ from JSON: /, "");
    problems.push({ path, reason });
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
