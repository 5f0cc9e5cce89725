/**
 * Envoy's access-log formats, compiled once into functions over a `RequestRecord`: format strings
 * (`%REQ(X?Y):20%`) and JSON formats. Absent values read `-` in text, `null` in JSON and nothing in
 * tags of statistics. It does not write anything anywhere.
 */
import type { Parsed, Problem } from "../base/problem.ts";
import {
  type FormatExtensions,
  impossible,
  type JsonValue,
  type Operator,
  operatorFor,
  type OperatorValue,
} from "./access-log-operators.ts";
import type { LineBuffer } from "./line-buffer.ts";
import type { RequestRecord } from "./request-record.ts";

export type FormatFunction = (record: RequestRecord) => string;

/** Adds what it says of a request to a line; no string is made for it. */
export type LineFormat = (record: RequestRecord, line: LineBuffer) => void;

/** A literal text, or what one operator says. */
export type FormatPart = string | Operator;

/** A JSON format as it stands in configuration: a tree whose leaves are format strings or plain values. */
export type JsonFormat = JsonValue;

export interface FormatOptions extends FormatExtensions {
  /** `omit_empty_values`: absent values read nothing in text, and their fields are left out of JSON. */
  readonly omitsEmpty?: boolean;
}

/** What Envoy writes where no format is configured. */
export const envoyTextFormat: string =
  '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% ' +
  "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% " +
  '%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" ' +
  '"%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" "%UPSTREAM_HOST%"\n';

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
export function parseFormat(
  format: string,
  extensions: FormatExtensions = {},
): Parsed<readonly FormatPart[]> {
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
    const operator = end === -1 ? "has no closing %" : operatorFor(text, extensions);
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
export function compileTextFormat(format: string, options: FormatOptions = {}): Parsed<LineFormat> {
  const { compileCel } = options;
  const asText = compileCel === undefined ? {} : { compileTypedCel: compileCel };
  const { value: parts, problems } = parseFormat(format, { ...options, ...asText });
  if (parts === undefined) return { value: undefined, problems };
  const line = new LinePlan();
  for (const part of parts) {
    if (typeof part === "string") line.literal(part);
    else line.value(part, options.omitsEmpty === true ? writeTextIfAny : writeText);
  }
  return { value: line.compile(), problems };
}

/** A tag of a statistic: absent values are empty, nothing is escaped. */
export function compileTagFormat(format: string): Parsed<FormatFunction> {
  const { value: parts, problems } = parseFormat(format);
  if (parts === undefined) return { value: undefined, problems };
  const [first] = parts;
  if (parts.length === 1 && typeof first === "string") return { value: () => first, problems };
  if (parts.length === 1 && typeof first === "function") {
    return { value: (record) => textOf(first(record) ?? ""), problems };
  }
  return { value: (record) => joinParts(parts, record), problems };
}

/** One JSON object and a newline; keys sorted as Envoy does, numbers stay numbers. */
export function compileJsonFormat(
  format: JsonFormat,
  options: FormatOptions = {},
): Parsed<LineFormat> {
  const problems: Problem[] = [];
  const line = new LinePlan();
  const parse = (text: string): readonly FormatPart[] => {
    const { value = [], problems: found } = parseFormat(text, options);
    problems.push(...found);
    return value;
  };
  const sparse = options.omitsEmpty === true ? sparseJson(format, parse) : undefined;
  if (sparse === undefined) planJson(format, line, parse);
  line.literal("\n");
  if (problems.length > 0) return { value: undefined, problems };
  return { value: sparse === undefined ? line.compile() : wholeLine(sparse), problems };
}

type ParseParts = (format: string) => readonly FormatPart[];

function planJson(format: JsonFormat, line: LinePlan, parse: ParseParts): void {
  if (typeof format === "string") {
    planJsonString(format, line, parse);
  } else if (format === null || typeof format !== "object") {
    line.literal(JSON.stringify(format));
  } else if (isList(format)) {
    line.literal("[");
    format.forEach((item, index) => {
      if (index > 0) line.literal(",");
      planJson(item, line, parse);
    });
    line.literal("]");
  } else {
    line.literal("{");
    Object.entries(format)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .forEach(([key, value], index) => {
        line.literal(`${index === 0 ? "" : ","}${JSON.stringify(key)}:`);
        planJson(value, line, parse);
      });
    line.literal("}");
  }
}

function planJsonString(format: string, line: LinePlan, parse: ParseParts): void {
  const parts = parse(format);
  const [first] = parts;
  if (parts.length === 1 && typeof first === "function") {
    line.value(first, writeJson);
    return;
  }
  line.literal('"');
  for (const part of parts) {
    if (typeof part === "string") line.literal(JSON.stringify(part).slice(1, -1));
    else line.value(part, writeInString);
  }
  line.literal('"');
}

type ValueWriter = (line: LineBuffer, value: OperatorValue) => void;

function textOf(value: Exclude<OperatorValue, undefined>): string {
  if (value === impossible) return "";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const writeText: ValueWriter = (line, value) => {
  if (value === undefined) line.absent();
  else if (typeof value === "number") line.number(value);
  else if (typeof value === "string") line.escaped(value);
  // What has parts comes from configuration, not from a client.
  else line.text(textOf(value));
};

const writeTextIfAny: ValueWriter = (line, value) => {
  if (value !== undefined) writeText(line, value);
};

const jsonNull = Buffer.from(String(null));

const writeJson: ValueWriter = (line, value) => {
  if (value === undefined || value === impossible) line.bytes(jsonNull);
  else if (typeof value === "number") line.number(value);
  else if (typeof value === "string") line.quoted(value);
  else line.text(JSON.stringify(value));
};

const writeInString: ValueWriter = (line, value) => {
  if (value === undefined) line.absent();
  else if (typeof value === "number") line.number(value);
  else line.inString(textOf(value));
};

const writeInStringIfAny: ValueWriter = (line, value) => {
  if (value !== undefined) writeInString(line, value);
};

interface LineField {
  /** What stands before the value. */
  readonly lead: Buffer;
  readonly operator: Operator;
  readonly write: ValueWriter;
}

/** Literals and values of a line in their order; literals between two values are one. */
class LinePlan {
  readonly #fields: LineField[] = [];
  #literal = "";

  literal(text: string): void {
    this.#literal += text;
  }

  value(operator: Operator, write: ValueWriter): void {
    this.#fields.push({ lead: Buffer.from(this.#literal), operator, write });
    this.#literal = "";
  }

  compile(): LineFormat {
    const fields = this.#fields;
    const tail = Buffer.from(this.#literal);
    return (record, line) => {
      for (let index = 0; index < fields.length; index++) {
        const field = fields[index];
        if (field === undefined) break;
        line.bytes(field.lead);
        field.write(line, field.operator(record));
      }
      line.bytes(tail);
    };
  }
}

/** Writes JSON; false: there is nothing to say, and what was written is to be taken back. */
type SparseWriter = (record: RequestRecord, line: LineBuffer) => boolean;

function wholeLine(write: SparseWriter): LineFormat {
  const empty = Buffer.from("{}");
  const end = Buffer.from("\n");
  return (record, line) => {
    const start = line.length;
    if (!write(record, line)) {
      line.length = start;
      line.bytes(empty);
    }
    line.bytes(end);
  };
}

function sparseJson(format: JsonFormat, parse: ParseParts): SparseWriter {
  if (typeof format === "string") return sparseString(parse(format));
  if (format === null) return () => false;
  if (typeof format !== "object") {
    const text = Buffer.from(JSON.stringify(format));
    return (_record, line) => {
      line.bytes(text);
      return true;
    };
  }
  if (isList(format))
    return sparseParts(
      "[]",
      format.map((item) => ["", item, parse]),
    );
  const entries = Object.entries(format).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return sparseParts(
    "{}",
    entries.map(([key, value]) => [`${JSON.stringify(key)}:`, value, parse]),
  );
}

function sparseParts(
  brackets: string,
  parts: readonly (readonly [lead: string, format: JsonFormat, parse: ParseParts])[],
): SparseWriter {
  const [open = "", close = ""] = brackets;
  const [first, last] = [Buffer.from(open), Buffer.from(close)];
  const comma = Buffer.from(",");
  const fields = parts.map(([lead, format, parse]) => ({
    lead: Buffer.from(lead),
    write: sparseJson(format, parse),
  }));
  return (record, line) => {
    line.bytes(first);
    let hasAny = false;
    for (const { lead, write } of fields) {
      const before = line.length;
      if (hasAny) line.bytes(comma);
      line.bytes(lead);
      if (write(record, line)) hasAny = true;
      else line.length = before;
    }
    line.bytes(last);
    return hasAny;
  };
}

function sparseString(parts: readonly FormatPart[]): SparseWriter {
  const [first] = parts;
  if (parts.length === 1 && typeof first === "function") {
    return (record, line) => {
      const value = first(record);
      if (value === undefined || value === impossible) return false;
      writeJson(line, value);
      return true;
    };
  }
  const plan = new LinePlan();
  plan.literal('"');
  for (const part of parts) {
    if (typeof part === "string") plan.literal(JSON.stringify(part).slice(1, -1));
    else plan.value(part, writeInStringIfAny);
  }
  plan.literal('"');
  const write = plan.compile();
  return (record, line) => {
    write(record, line);
    return true;
  };
}

/** Nothing stands for an absent value. */
function joinParts(parts: readonly FormatPart[], record: RequestRecord): string {
  let text = "";
  for (const part of parts) text += typeof part === "string" ? part : textOf(part(record) ?? "");
  return text;
}

function isList(format: JsonFormat): format is readonly JsonFormat[] {
  return Array.isArray(format);
}
