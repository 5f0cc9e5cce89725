/**
 * Sets the fields of a message one after another, at every depth, and asks what becomes of each. A
 * field that is refused is not looked into, but asked again with its zero where that can be told from
 * none: what is taken then must do what it says, or be what is done anyway.
 */
import { type DescField, type DescMessage, create, fromJson, toBinary } from "@bufbuild/protobuf";
import type { JsonObject, Message } from "@bufbuild/protobuf";
import { reflect, type ReflectMessage, scalarZeroValue } from "@bufbuild/protobuf/reflect";
import { FeatureSet_FieldPresence } from "@bufbuild/protobuf/wkt";

import { registry } from "../../../src/wire/gen/es/registry.ts";

export interface Walked {
  /** Full name of the message. */
  readonly type: string;
  /** One that is accepted. */
  readonly base: JsonObject;
  /** Undefined when the message is accepted, otherwise why not. */
  readonly refusal: (bytes: Uint8Array) => string | undefined;
}

/** Below messages of these types there is nothing to decide. */
const whole: ReadonlySet<string> = new Set([
  "google.protobuf.Any",
  "google.protobuf.Struct",
  "google.protobuf.Value",
  "google.protobuf.Duration",
  "google.protobuf.Timestamp",
  "envoy.config.core.v3.Metadata",
  "xds.type.matcher.v3.Matcher",
]);

const depthMax = 6;

/** Paths of the fields that are accepted, of `walked` itself and below; some with their zero alone. */
export function acceptedFields(walked: Walked): readonly string[] {
  const desc = messageOf(walked.type);
  const accepted: string[] = [];
  const walk = (path: readonly DescField[]): void => {
    const last = path.at(-1);
    const below = last === undefined ? desc : last.message;
    if (below === undefined || path.length >= depthMax || whole.has(below.typeName)) return;
    if (path.slice(0, -1).some((field) => field.message?.typeName === below.typeName)) return;
    for (const field of below.fields) {
      const at = [...path, field];
      const name = at.map((one) => one.name).join(".");
      const isTaken = (put: Put): boolean =>
        walked.refusal(toBinary(desc, withField(desc, walked.base, { at, put }))) === undefined;
      if (isTaken(set)) {
        accepted.push(name);
        walk(at);
      } else if (hasZero(field) && isTaken(setZero)) {
        accepted.push(`${name} = 0`);
      }
    }
  };
  walk([]);
  return accepted;
}

/** The last field of a path, and the message that it stands in. */
export function fieldAt(
  type: string,
  path: string,
): { readonly message: string; readonly field: string } {
  const names = path.split(".");
  let desc = messageOf(type);
  for (const name of names.slice(0, -1)) {
    const inner = desc.fields.find((field) => field.name === name)?.message;
    if (inner === undefined) throw new Error(`${type} has no messages at ${path}`);
    desc = inner;
  }
  return { message: desc.typeName, field: names.at(-1) ?? "" };
}

/** Paths of the fields that a message sets, of itself and below. */
export function setFields(type: string, json: JsonObject): readonly string[] {
  const desc = messageOf(type);
  const paths: string[] = [];
  const visit = (message: ReflectMessage, parent: string): void => {
    for (const field of message.fields) {
      if (!message.isSet(field)) continue;
      const path = `${parent}${field.name}`;
      paths.push(path);
      for (const inner of messagesIn(message, field)) visit(inner, `${path}.`);
    }
  };
  visit(reflect(desc, fromJson(desc, json, { registry })), "");
  return paths;
}

function messagesIn(message: ReflectMessage, field: DescField): readonly ReflectMessage[] {
  if (field.message?.typeName.startsWith("google.protobuf.") === true) return [];
  if (field.fieldKind === "message") return [message.get(field)];
  if (field.fieldKind !== "list" || field.listKind !== "message") return [];
  return [...message.get(field)].filter(isReflected);
}

export function encode(type: string, json: JsonObject): Uint8Array {
  const desc = messageOf(type);
  return toBinary(desc, fromJson(desc, json, { registry }));
}

/** The outer message with the bytes of an inner one in the place of its empty `Any`. */
export function enclose(
  outer: { readonly type: string; readonly json: JsonObject },
  inner: { readonly type: string; readonly bytes: Uint8Array },
): Uint8Array {
  const desc = messageOf(outer.type);
  const message = fromJson(desc, outer.json, { registry });
  const count = fill(message, `type.googleapis.com/${inner.type}`, inner.bytes);
  if (count === 0) throw new Error(`no place for ${inner.type}`);
  return toBinary(desc, message);
}

function fill(value: unknown, typeUrl: string, bytes: Uint8Array): number {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return 0;
  if ("typeUrl" in value && "value" in value && value.typeUrl === typeUrl) {
    value.value = bytes;
    return 1;
  }
  return Object.values(value).reduce<number>((sum, one) => sum + fill(one, typeUrl, bytes), 0);
}

function messageOf(type: string): DescMessage {
  const desc = registry.getMessage(type);
  if (desc === undefined) throw new Error(`no message ${type}`);
  return desc;
}

type Put = (message: ReflectMessage, field: DescField) => void;

function withField(
  desc: DescMessage,
  base: JsonObject,
  { at: path, put }: { readonly at: readonly DescField[]; readonly put: Put },
): Message {
  const message = fromJson(desc, base, { registry });
  let at: ReflectMessage = reflect(desc, message);
  for (const [i, field] of path.entries()) {
    if (i < path.length - 1) at = enter(at, field);
    else put(at, field);
  }
  return message;
}

/** The message in a field: the first of a list or map; made where it is not there. */
function enter(message: ReflectMessage, field: DescField): ReflectMessage {
  if (field.fieldKind === "message") {
    if (!message.isSet(field)) message.set(field, empty(field.message));
    return message.get(field);
  }
  if (field.fieldKind === "list" && field.listKind === "message") {
    const list = message.get(field);
    if (list.size === 0) list.add(empty(field.message));
    const first = list.get(0);
    if (isReflected(first)) return first;
  }
  if (field.fieldKind === "map" && field.mapKind === "message") {
    const map = message.get(field);
    if (map.size === 0) map.set(mapKey, empty(field.message));
    const [first] = map.values();
    if (isReflected(first)) return first;
  }
  throw new Error(`${field.name} holds no message`);
}

const mapKey = "key";

function isReflected(value: unknown): value is ReflectMessage {
  return typeof value === "object" && value !== null && "desc" in value;
}

function set(message: ReflectMessage, field: DescField): void {
  switch (field.fieldKind) {
    case "message":
      if (!message.isSet(field)) message.set(field, sample(field.message));
      break;
    case "scalar":
      message.set(field, scalar(field.scalar));
      break;
    case "enum":
      message.set(field, field.enum.values.find(({ number }) => number !== 0)?.number ?? 0);
      break;
    case "list": {
      const list = message.get(field);
      if (field.listKind === "message" && list.size > 0) break;
      if (field.listKind === "message") list.add(sample(field.message));
      else if (field.listKind === "enum") list.add(field.enum.values.at(-1)?.number ?? 0);
      else list.add(scalar(field.scalar));
      break;
    }
    case "map": {
      const map = message.get(field);
      if (field.mapKind === "message" && map.size > 0) break;
      if (field.mapKind === "message") map.set(mapKey, sample(field.message));
      else if (field.mapKind === "scalar") map.set(mapKey, scalar(field.scalar));
      break;
    }
  }
}

/** A zero of it is something else than none; an empty message with others is what `set` puts there. */
function hasZero(field: DescField): boolean {
  if (field.fieldKind === "message") return valueTypes.test(field.message.typeName);
  if (field.fieldKind !== "scalar" && field.fieldKind !== "enum") return false;
  return field.presence === FeatureSet_FieldPresence.EXPLICIT || field.oneof !== undefined;
}

function setZero(message: ReflectMessage, field: DescField): void {
  if (field.fieldKind === "message") message.set(field, empty(field.message));
  else if (field.fieldKind === "enum") message.set(field, 0);
  else if (field.fieldKind === "scalar") message.set(field, scalarZeroValue(field.scalar, false));
}

const valueTypes = /^google\.protobuf\.(?:\w+Value|Duration)$/;

function empty(desc: DescMessage): ReflectMessage {
  return reflect(desc, create(desc));
}

/** With a value that is not the default, where there is one. */
function sample(desc: DescMessage): ReflectMessage {
  const made = empty(desc);
  for (const field of desc.fields) {
    if (valueTypes.test(desc.typeName)) set(made, field);
  }
  return made;
}

const scalarInt64Types: ReadonlySet<number> = new Set([3, 4, 6, 16, 18]);

/** By the number of the scalar's type in a descriptor. */
function scalar(type: number): unknown {
  if (type === 8) return true;
  if (type === 9) return "x";
  if (type === 12) return Uint8Array.of(1);
  return scalarInt64Types.has(type) ? 7n : 7;
}
