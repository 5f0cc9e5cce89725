/** Bodies of the proxy's own answers that a format makes, as access logs make their lines. */
import {
  compileJsonFormat,
  type FormatOptions,
  type JsonFormat,
  parseFormat,
} from "../../telemetry/access-log-format.ts";
import type { OperatorValue } from "../../telemetry/access-log-operators.ts";
import { LineBuffer } from "../../telemetry/line-buffer.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { TypedExtensionConfig } from "../../wire/gen/ts/envoy/config/core/v3/extension.ts";
import type { SubstitutionFormatString } from "../../wire/gen/ts/envoy/config/core/v3/substitution_format_string.ts";
import { refuse } from "./refusal.ts";

export interface BodyFormat {
  readonly contentType: string;
  /** `body` is what the answer would have been. */
  readonly write: (record: RequestRecord, body: string) => string;
}

/** Nothing is escaped in it: it is one text. */
export function compileBodyFormat(
  format: SubstitutionFormatString,
  path: string,
  extensions: FormatOptions = {},
): BodyFormat {
  format.formatters.forEach((formatter, i) =>
    refuseUnknownFormatter(formatter, `${path}.formatters[${i}]`),
  );
  let body = "";
  const { omitEmptyValues: omitsEmpty } = format;
  const options = { ...extensions, omitsEmpty, localReplyBody: () => body };
  const text =
    format.jsonFormat === undefined
      ? compileText(format, options, path)
      : compileJson(jsonFormat(format.jsonFormat), options, path);
  const usual = format.jsonFormat === undefined ? "text/plain" : "application/json";
  return {
    contentType: format.contentType === "" ? usual : format.contentType,
    write(record, given) {
      body = given;
      return text(record);
    },
  };
}

type Text = (record: RequestRecord) => string;

function compileJson(format: JsonFormat, options: FormatOptions, path: string): Text {
  const { value, problems } = compileJsonFormat(format, options);
  const write = value ?? refuse(`${path}.json_format`, problems[0]?.message ?? "is malformed");
  const line = new LineBuffer();
  return (record) => {
    line.clear();
    write(record, line);
    return line.memory.toString("utf8", 0, line.length);
  };
}

function compileText(
  { textFormatSource, textFormat }: SubstitutionFormatString,
  options: FormatOptions,
  path: string,
): Text {
  const text = textFormatSource?.inlineString ?? textFormat;
  if (text === undefined) return refuse(path, "holds no format");
  const { value, problems } = parseFormat(text, options);
  const parts = value ?? refuse(`${path}.text_format`, problems[0]?.message ?? "is malformed");
  const absent = options.omitsEmpty === true ? "" : "-";
  return (record) =>
    parts.map((part) => (typeof part === "string" ? part : plain(part(record), absent))).join("");
}

function plain(value: OperatorValue, absent: string): string {
  if (value === undefined) return absent;
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** Their operators are always there; what configures them further is refused. */
const formatters: ReadonlySet<string> = new Set([
  "envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery",
  "envoy.extensions.formatter.metadata.v3.Metadata",
  "envoy.extensions.formatter.cel.v3.Cel",
]);

export function refuseUnknownFormatter(
  { name, typedConfig }: TypedExtensionConfig,
  path: string,
): void {
  const type = typedConfig?.typeUrl.split("/").at(-1) ?? "";
  if (!formatters.has(type)) refuse(`${path}.typed_config`, `${type || name} is not supported`);
  if ((typedConfig?.value.length ?? 0) > 0) refuse(`${path}.typed_config`, "takes no fields");
}

/** A decoded Struct is plain JSON; anything else in it becomes null. */
export function jsonFormat(value: unknown): JsonFormat {
  if (Array.isArray(value)) return value.map(jsonFormat);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, jsonFormat(item)]));
  }
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean"
    ? value
    : null;
}
