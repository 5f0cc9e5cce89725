/** What `http_protocol_options` ask of HTTP/1.1 beyond the usual, of clients and of endpoints. */
import { HeadSpelling, type OtherNames } from "../../wire/header-case.ts";
import type { Http1Head } from "../../wire/http1-head.ts";
import type { Http1ProtocolOptions } from "../../wire/gen/ts/envoy/config/core/v3/protocol.ts";
import {
  PreserveCaseFormatterConfig,
  PreserveCaseFormatterConfig_FormatterTypeOnEnvoyHeaders as OnOwnHeaders,
} from "../../wire/gen/ts/envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case.ts";
import { refuse } from "../engine/refusal.ts";

export interface Http1Plan {
  readonly names: {
    /** Names of what is received leave as they came, and others so; undefined: they are in lower case. */
    readonly keptOthers: OtherNames | undefined;
    /** Of messages whose names were not kept where they came in. */
    readonly written: OtherNames;
  };
  /** A message with a length and a chunked body loses its length, where it is refused otherwise. */
  readonly forgivesLength: boolean;
}

export const usualHttp1: Http1Plan = {
  names: { keptOthers: undefined, written: "lower" },
  forgivesLength: false,
};

/** Of a connection, before anything is read into it. */
export function prepareHead(head: Http1Head, { names, forgivesLength }: Http1Plan): void {
  if (names.keptOthers !== undefined) head.spelling = new HeadSpelling(names.keptOthers);
  head.forgivesLength = forgivesLength;
}

const preserveUrl =
  "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig";

/** Undefined where nothing is asked for. Throws a refusal. */
export function compileHttp1(
  options: Pick<Http1ProtocolOptions, "headerKeyFormat" | "allowChunkedLength"> | undefined,
  path: string,
): Http1Plan | undefined {
  const format = options?.headerKeyFormat;
  const forgivesLength = options?.allowChunkedLength ?? false;
  if (format === undefined && !forgivesLength) return undefined;
  if (format === undefined) return { ...usualHttp1, forgivesLength };
  if (format.properCaseWords !== undefined) {
    return { names: { keptOthers: undefined, written: "proper" }, forgivesLength };
  }
  const at = `${path}.header_key_format`;
  const typed = format.statefulFormatter?.typedConfig;
  if (format.statefulFormatter === undefined) return refuse(at, "says nothing");
  if (typed?.typeUrl !== preserveUrl) {
    const name = typed?.typeUrl ?? format.statefulFormatter.name;
    return refuse(`${at}.stateful_formatter`, `'${name}' is not supported`);
  }
  const { formatterTypeOnEnvoyHeaders: own } = PreserveCaseFormatterConfig.decode(typed.value);
  // Reasons always pass on as they came.
  const keptOthers = own === OnOwnHeaders.PROPER_CASE ? "proper" : "lower";
  return { names: { keptOthers, written: "lower" }, forgivesLength };
}
