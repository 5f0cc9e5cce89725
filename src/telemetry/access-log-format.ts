/**
 * Envoy's access-log formats, compiled once into functions over a `RequestRecord`: format strings
 * (`%REQ(X?Y):20%`) and JSON formats. Absent values read `-` in text, `null` in JSON and nothing in
 * tags of statistics. It does not write anything anywhere.
 */
import type { Parsed, Problem } from "../base/problem.ts";
import { operatorFor, type Operator } from "./access-log-operators.ts";
import type { RequestRecord } from "./request-record.ts";

export type FormatFunction = (record: RequestRecord) => string;

/** A literal text, or what one operator says. */
export type FormatPart = string | Operator;

/** A JSON format as it stands in configuration: a tree whose leaves are format strings or plain values. */
export type JsonFormat =
  | string
  | number
  | boolean
  | null
  | readonly JsonFormat[]
  | { readonly [key: string]: JsonFormat };

/** Istio's default text format. */
export const istioTextFormat: string =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ' +
  "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% " +
  '"%UPSTREAM_TRANSPORT_FAILURE_REASON%" %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ' +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%" %UPSTREAM_CLUSTER_RAW% ' +
  "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% " +
  "%REQUESTED_SERVER_NAME% %ROUTE_NAME%\n";

/** Istio's JSON format. */
export const istioJsonFormat: { readonly [key: string]: string } = {
  start_time: "%START_TIME%",
  route_name: "%ROUTE_NAME%",
  method: "%REQ(:METHOD)%",
  path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
  protocol: "%PROTOCOL%",
  response_code: "%RESPONSE_CODE%",
  response_flags: "%RESPONSE_FLAGS%",
  response_code_details: "%RESPONSE_CODE_DETAILS%",
  connection_termination_details: "%CONNECTION_TERMINATION_DETAILS%",
  bytes_received: "%BYTES_RECEIVED%",
  bytes_sent: "%BYTES_SENT%",
  duration: "%DURATION%",
  upstream_service_time: "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
  x_forwarded_for: "%REQ(X-FORWARDED-FOR)%",
  user_agent: "%REQ(USER-AGENT)%",
  request_id: "%REQ(X-REQUEST-ID)%",
  authority: "%REQ(:AUTHORITY)%",
  upstream_host: "%UPSTREAM_HOST%",
  upstream_cluster: "%UPSTREAM_CLUSTER_RAW%",
  upstream_local_address: "%UPSTREAM_LOCAL_ADDRESS%",
  downstream_local_address: "%DOWNSTREAM_LOCAL_ADDRESS%",
  downstream_remote_address: "%DOWNSTREAM_REMOTE_ADDRESS%",
  requested_server_name: "%REQUESTED_SERVER_NAME%",
  upstream_transport_failure_reason: "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
};

/** Splits a format string; problems name the operators that are unknown or malformed. */
export function parseFormat(format: string): Parsed<readonly FormatPart[]> {
  const parts: FormatPart[] = [];
  const problems: Problem[] = [];
  let literal = "";
  let at = 0;
  while (at < format.length) {
    if (format[at] !== "%") {
      literal += format[at++];
      continue;
    }
    if (format[at + 1] === "%") {
      literal += "%";
      at += 2;
      continue;
    }
    const end = endOfOperator(format, at + 1);
    const text = format.slice(at + 1, end === -1 ? undefined : end);
    const operator = end === -1 ? "has no closing %" : operatorFor(text);
    if (typeof operator === "string") {
      problems.push({
        code: "access-log.operator",
        severity: "error",
        path: "",
        message: `%${text}% ${operator}`,
      });
    } else {
      if (literal !== "") parts.push(literal);
      literal = "";
      parts.push(operator);
    }
    at = end === -1 ? format.length : end + 1;
  }
  if (literal !== "") parts.push(literal);
  return { value: problems.length === 0 ? parts : undefined, problems };
}

/** The closing `%`; a `%` inside parentheses belongs to the argument (`%START_TIME(%s)%`). */
function endOfOperator(format: string, from: number): number {
  let depth = 0;
  for (let at = from; at < format.length; at++) {
    const char = format[at];
    if (char === "(") depth++;
    else if (char === ")") depth--;
    else if (char === "%" && depth <= 0) return at;
  }
  return -1;
}

/** A line of text; control characters and quotes of values are escaped, so a value stays one value. */
export function compileTextFormat(format: string): Parsed<FormatFunction> {
  const { value: parts, problems } = parseFormat(format);
  if (parts === undefined) return { value: undefined, problems };
  return { value: (record) => joinParts(parts, record, "-", escapeText), problems };
}

/** A tag of a statistic: absent values are empty, nothing is escaped. */
export function compileTagFormat(format: string): Parsed<FormatFunction> {
  const { value: parts, problems } = parseFormat(format);
  if (parts === undefined) return { value: undefined, problems };
  const [first] = parts;
  if (parts.length === 1 && typeof first === "string") return { value: () => first, problems };
  if (parts.length === 1 && typeof first === "function") {
    return { value: (record) => String(first(record) ?? ""), problems };
  }
  return { value: (record) => joinParts(parts, record, "", String), problems };
}

/** One JSON object and a newline; keys sorted as Envoy does, numbers stay numbers. */
export function compileJsonFormat(format: JsonFormat): Parsed<FormatFunction> {
  const problems: Problem[] = [];
  const write = compileJsonValue(format, problems);
  if (problems.length > 0) return { value: undefined, problems };
  return { value: (record) => `${write(record)}\n`, problems };
}

function compileJsonValue(format: JsonFormat, problems: Problem[]): FormatFunction {
  if (typeof format === "string") return compileJsonString(format, problems);
  if (format === null || typeof format !== "object") {
    const text = JSON.stringify(format);
    return () => text;
  }
  if (isList(format)) {
    const items = format.map((item) => compileJsonValue(item, problems));
    return (record) => `[${items.map((item) => item(record)).join(",")}]`;
  }
  const fields = Object.entries(format)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, value], index) => ({
      lead: `${index === 0 ? "{" : ","}${JSON.stringify(key)}:`,
      write: compileJsonValue(value, problems),
    }));
  if (fields.length === 0) return () => "{}";
  return (record) => {
    let text = "";
    for (const field of fields) text += field.lead + field.write(record);
    return `${text}}`;
  };
}

function compileJsonString(format: string, problems: Problem[]): FormatFunction {
  const { value: parts, problems: found } = parseFormat(format);
  problems.push(...found);
  if (parts === undefined) return () => "null";
  const [first] = parts;
  if (parts.length === 1 && typeof first === "function") {
    // Most fields repeat from one request to the next; comparing is cheaper than quoting.
    let last: string | undefined;
    let lastQuoted = "";
    return (record) => {
      const value = first(record);
      if (value === undefined) return "null";
      if (typeof value === "number") return String(value);
      if (value !== last) {
        lastQuoted = quoteJson(value);
        last = value;
      }
      return lastQuoted;
    };
  }
  if (parts.every((part) => typeof part === "string")) {
    const text = JSON.stringify(parts.join(""));
    return () => text;
  }
  return (record) => quoteJson(joinParts(parts, record, "-", String));
}

function joinParts(
  parts: readonly FormatPart[],
  record: RequestRecord,
  absent: string,
  escape: (value: string) => string,
): string {
  let text = "";
  for (const part of parts) {
    if (typeof part === "string") {
      text += part;
      continue;
    }
    const value = part(record);
    text += value === undefined ? absent : typeof value === "number" ? value : escape(value);
  }
  return text;
}

function isList(format: JsonFormat): format is readonly JsonFormat[] {
  return Array.isArray(format);
}

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const needsTextEscape = /["\u0000-\u001f\u007f]/;

function escapeText(value: string): string {
  if (!needsTextEscape.test(value)) return value;
  let text = "";
  for (const char of value) {
    text += needsTextEscape.test(char)
      ? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`
      : char;
  }
  return text;
}

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const needsJsonEscape = /["\\\u0000-\u001f\u007f\ud800-\udfff]/;

function quoteJson(value: string): string {
  return needsJsonEscape.test(value) ? JSON.stringify(value) : `"${value}"`;
}
