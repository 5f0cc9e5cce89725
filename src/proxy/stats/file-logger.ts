/** File and standard-stream access loggers: which format, and where the line goes. */
import {
  compileJsonFormat,
  compileTextFormat,
  istioTextFormat,
  type LineFormat,
  type JsonFormat,
} from "../../telemetry/access-log-format.ts";
import type { Parsed } from "../../base/problem.ts";
import type { SubstitutionFormatString } from "../../wire/gen/ts/envoy/config/core/v3/substitution_format_string.ts";
import type { FileAccessLog } from "../../wire/gen/ts/envoy/extensions/access_loggers/file/v3/file.ts";
import { refuse } from "../engine/refusal.ts";

export function compileFileFormat(config: FileAccessLog, path: string): LineFormat {
  if (config.format !== undefined && config.format !== "") {
    return required(compileTextFormat(config.format), `${path}.format`);
  }
  const json = config.jsonFormat ?? config.typedJsonFormat;
  if (json !== undefined)
    return required(compileJsonFormat(jsonFormat(json)), `${path}.json_format`);
  return compileLogFormat(config.logFormat, `${path}.log_format`);
}

export function compileLogFormat(
  format: SubstitutionFormatString | undefined,
  path: string,
): LineFormat {
  if (format?.jsonFormat !== undefined) {
    return required(compileJsonFormat(jsonFormat(format.jsonFormat)), `${path}.json_format`);
  }
  if ((format?.formatters.length ?? 0) > 0) refuse(`${path}.formatters`, "are not supported");
  const text = format?.textFormatSource?.inlineString ?? format?.textFormat ?? istioTextFormat;
  return required(compileTextFormat(text), `${path}.text_format`);
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
