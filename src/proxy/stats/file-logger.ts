/** Formats of file and standard-stream access loggers, as configuration says them. */
import { hostname } from "node:os";

import {
  compileJsonFormat,
  compileTextFormat,
  envoyTextFormat,
  type FormatOptions,
  type LineFormat,
} from "../../telemetry/access-log-format.ts";
import type { Parsed } from "../../base/problem.ts";
import { compileCelOperator, compileTypedCelOperator } from "../../telemetry/cel.ts";
import type { SubstitutionFormatString } from "../../wire/gen/ts/envoy/config/core/v3/substitution_format_string.ts";
import type { FileAccessLog } from "../../wire/gen/ts/envoy/extensions/access_loggers/file/v3/file.ts";
import { compileRegex } from "../engine/regex.ts";
import { jsonFormat, refuseUnknownFormatter } from "../engine/body-format.ts";
import { refuse } from "../engine/refusal.ts";
import type { Environment } from "./span-tags.ts";

export function compileFileFormat(
  config: FileAccessLog,
  path: string,
  environment?: Environment,
): LineFormat {
  const extensions = formatExtensions(environment);
  if (config.format !== undefined && config.format !== "") {
    return required(compileTextFormat(config.format, extensions), `${path}.format`);
  }
  const json = config.jsonFormat ?? config.typedJsonFormat;
  if (json !== undefined)
    return required(compileJsonFormat(jsonFormat(json), extensions), `${path}.json_format`);
  return compileLogFormat(config.logFormat, `${path}.log_format`, environment);
}

export function compileLogFormat(
  format: SubstitutionFormatString | undefined,
  path: string,
  environment?: Environment,
): LineFormat {
  format?.formatters.forEach((formatter, i) =>
    refuseUnknownFormatter(formatter, `${path}.formatters[${i}]`),
  );
  const omitsEmpty = format?.omitEmptyValues ?? false;
  const options = { ...formatExtensions(environment), omitsEmpty };
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

/** Operators that need more than the record of a request. `environment`: of this process, by name. */
export function formatExtensions(environment: Environment = {}): FormatOptions {
  return { ...extensions, environment };
}

/** Those that no process is needed for. */
export const extensions: FormatOptions = {
  hostName: hostname(),
  compileCel: (expression) =>
    compileCelOperator(expression, (pattern) => compileSearch(pattern, "%CEL%")),
  compileTypedCel: (expression) =>
    compileTypedCelOperator(expression, (pattern) => compileSearch(pattern, "%TYPED_CEL%")),
};

function required(parsed: Parsed<LineFormat>, path: string): LineFormat {
  return parsed.value ?? refuse(path, parsed.problems[0]?.message ?? "is malformed");
}
