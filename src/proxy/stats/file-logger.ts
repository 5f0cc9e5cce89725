/** Formats of file and standard-stream access loggers, as configuration says them. */
import { hostname } from "node:os";

import {
  compileJsonFormat,
  compileTextFormat,
  envoyTextFormat,
  type FormatOptions,
  type JsonFormat,
  type LineFormat,
} from "../../telemetry/access-log-format.ts";
import type { Parsed } from "../../base/problem.ts";
import { compileCelOperator } from "../../telemetry/cel.ts";
import type { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import type { SubstitutionFormatString } from "../../wire/gen/ts/envoy/config/core/v3/substitution_format_string.ts";
import type { FileAccessLog } from "../../wire/gen/ts/envoy/extensions/access_loggers/file/v3/file.ts";
import { compileRegex } from "../engine/regex.ts";
import { refuse } from "../engine/refusal.ts";

export function compileFileFormat(config: FileAccessLog, path: string): LineFormat {
  if (config.format !== undefined && config.format !== "") {
    return required(compileTextFormat(config.format, extensions), `${path}.format`);
  }
  const json = config.jsonFormat ?? config.typedJsonFormat;
  if (json !== undefined)
    return required(compileJsonFormat(jsonFormat(json), extensions), `${path}.json_format`);
  return compileLogFormat(config.logFormat, `${path}.log_format`);
}

export function compileLogFormat(
  format: SubstitutionFormatString | undefined,
  path: string,
): LineFormat {
  format?.formatters.forEach((formatter, i) =>
    refuseUnknownFormatter(formatter, `${path}.formatters[${i}]`),
  );
  const options = { ...extensions, omitsEmpty: format?.omitEmptyValues ?? false };
  if (format?.jsonFormat !== undefined) {
    const json = jsonFormat(format.jsonFormat);
    return required(compileJsonFormat(json, options), `${path}.json_format`);
  }
  const text = format?.textFormatSource?.inlineString ?? format?.textFormat ?? envoyTextFormat;
  return required(compileTextFormat(text, options), `${path}.text_format`);
}

/** Pattern of RE2 for a match anywhere in the text. */
export function compileSearch(pattern: string, path: string): (text: string) => boolean {
  const regex = compileRegex({ regex: `(?s:.*)(?:${pattern})(?s:.*)` }, path);
  return (text) => regex.matches(text);
}

const extensions: FormatOptions = {
  hostName: hostname(),
  compileCel: (expression) =>
    compileCelOperator(expression, (pattern) => compileSearch(pattern, "%CEL%")),
};

/** Their operators are always there; what configures them further is refused. */
const formatters: ReadonlySet<string> = new Set([
  "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
  "envoy.extensions.formatter.metadata.v3.Metadata",
  "envoy.extensions.formatter.cel.v3.Cel",
]);

function refuseUnknownFormatter({ name, typedConfig }: TypedExtensionConfig, path: string): void {
  const type = typedConfig?.typeUrl.split("/").at(-1) ?? "";
  if (!formatters.has(type)) refuse(`${path}.typed_config`, `${type || name} is not supported`);
  if ((typedConfig?.value.length ?? 0) > 0) refuse(`${path}.typed_config`, "takes no fields");
}

function required(parsed: Parsed<LineFormat>, path: string): LineFormat {
  return parsed.value ?? refuse(path, parsed.problems[0]?.message ?? "is malformed");
}

/** A decoded Struct is plain JSON; anything else in it becomes null. */
function jsonFormat(value: unknown): JsonFormat {
  if (Array.isArray(value)) return value.map(jsonFormat);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonFormat(item)]));
  }
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean"
    ? value
    : null;
}
