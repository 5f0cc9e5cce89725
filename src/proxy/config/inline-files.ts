/** Replaces data sources that name files by the files' content, at any depth, inside Any too. */
import { type Message, type Registry, isMessage } from "@bufbuild/protobuf";
import { type Any, AnySchema, anyPack, anyUnpack } from "@bufbuild/protobuf/wkt";

import {
  type DataSource,
  DataSourceSchema,
} from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";

export interface FileInlining {
  readonly registry: Registry;
  readonly readFile: (path: string) => Uint8Array;
}

/** Changes the message in place. */
export function inlineFiles(message: Message, options: FileInlining): void {
  if (isMessage(message, DataSourceSchema)) {
    inlineSource(message, options);
    return;
  }
  if (isMessage(message, AnySchema)) {
    inlineAny(message, options);
    return;
  }
  for (const value of Object.values(message)) visit(value, options);
}

function visit(value: unknown, options: FileInlining): void {
  if (typeof value !== "object" || value === null || value instanceof Uint8Array) return;
  if (isMessage(value)) {
    inlineFiles(value, options);
    return;
  }
  // Lists, maps and the wrapper of a oneof.
  for (const inner of Object.values(value)) visit(inner, options);
}

function inlineSource(source: DataSource, { readFile }: FileInlining): void {
  if (source.specifier.case !== "filename") return;
  source.specifier = {
    case: "inlineBytes",
    value: Uint8Array.from(readFile(source.specifier.value)),
  };
}

function inlineAny(any: Any, options: FileInlining): void {
  const inner = anyUnpack(any, options.registry);
  if (inner === undefined) return;
  inlineFiles(inner, options);
  const schema = options.registry.getMessage(inner.$typeName);
  if (schema !== undefined) anyPack(schema, inner, any);
}
