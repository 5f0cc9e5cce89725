/** Operators about the request's and the response's heads: fields, path, query, sizes. */
import { utf8Of } from "../../base/latin1.ts";
import type { RequestRecord } from "../request-record.ts";
import { type Operator, type OperatorMaker, present } from "./operator.ts";

type HeaderReader = (record: RequestRecord, name: string) => string | undefined;

function decoded(value: string | undefined): string | undefined {
  return value === undefined ? undefined : utf8Of(value);
}

const requestHeader: HeaderReader = (record, name) => {
  switch (name) {
    case ":method":
      return present(record.method);
    case ":path":
      return present(record.path);
    case ":authority":
    case "host":
      return present(record.authority);
    case ":scheme":
      return present(record.scheme);
    case "x-request-id":
      return present(record.requestId) ?? record.requestHeader(name);
    default:
      return record.requestHeader(name);
  }
};

const responseHeader: HeaderReader = (record, name) => {
  if (name === ":status") return record.responseCode === 0 ? undefined : `${record.responseCode}`;
  const value = record.responseHeader(name);
  if (value !== undefined || name !== "x-envoy-upstream-service-time") return value;
  const { upstreamServiceTimeMs } = record;
  return upstreamServiceTimeMs === undefined ? undefined : `${Math.floor(upstreamServiceTimeMs)}`;
};

function headerOperator(read: HeaderReader): (argument: string) => Operator | string {
  return (argument) => {
    const [first = "", second, ...rest] = argument.toLowerCase().split("?");
    if (first === "" || rest.length > 0) return "needs HEADER or HEADER?FALLBACK";
    if (second === undefined) return (record) => decoded(read(record, first));
    return (record) => decoded(read(record, first) ?? read(record, second));
  };
}

const requestOperator = headerOperator(requestHeader);
const responseOperator = headerOperator(responseHeader);
const trailerOperator = headerOperator((record, name) => record.responseTrailer(name));

function withoutQuery(value: string | undefined): string | undefined {
  return value?.split("?", 1)[0];
}

const originalPath = "x-envoy-original-path";

const pathSources: {
  readonly [name: string]: (record: RequestRecord) => string | undefined;
} = {
  ORIG: (record) => record.requestHeader(originalPath),
  PATH: (record) => record.path,
  ORIG_OR_PATH: (record) => record.requestHeader(originalPath) ?? record.path,
};

/** `%PATH(WQ|NQ:ORIG|PATH|ORIG_OR_PATH)%`. */
function pathOperator(argument: string): Operator | string {
  const [query = "", source = "ORIG_OR_PATH", ...rest] = argument.split(":");
  const read = Object.hasOwn(pathSources, source) ? pathSources[source] : undefined;
  if (read === undefined || rest.length > 0 || !["", "WQ", "NQ"].includes(query)) {
    return "needs WQ or NQ, then ORIG, PATH or ORIG_OR_PATH";
  }
  if (query === "NQ") return (record) => decoded(present(withoutQuery(read(record))));
  return (record) => decoded(present(read(record)));
}

function queryOf(record: RequestRecord): string | undefined {
  const at = record.path.indexOf("?");
  return at < 0 ? undefined : record.path.slice(at + 1);
}

/** The first value of a parameter, its escapes undone. */
function queryParameter(record: RequestRecord, name: string): string | undefined {
  const query = queryOf(record);
  return query === undefined ? undefined : (new URLSearchParams(query).get(name) ?? undefined);
}

/** As Envoy counts: names and values of all fields, those with a colon too. */
function headBytes(record: RequestRecord, which: "request" | "response" | "trailers"): number {
  return record.headBytes?.(which) ?? 0;
}

export const headerOperators: { readonly [name: string]: Operator } = {
  REQUEST_HEADERS_BYTES: (record) => headBytes(record, "request"),
  RESPONSE_HEADERS_BYTES: (record) => headBytes(record, "response"),
  RESPONSE_TRAILERS_BYTES: (record) => headBytes(record, "trailers"),
};

export const headerOperatorMakers: { readonly [name: string]: OperatorMaker } = {
  REQ: requestOperator,
  REQUEST_HEADER: requestOperator,
  RESP: responseOperator,
  RESPONSE_HEADER: responseOperator,
  TRAILER: trailerOperator,
  RESPONSE_TRAILER: trailerOperator,
  REQ_WITHOUT_QUERY: (argument) => {
    const whole = requestOperator(argument);
    if (typeof whole === "string") return whole;
    return (record) => {
      const value = whole(record);
      return typeof value === "string" ? withoutQuery(value) : value;
    };
  },
  PATH: pathOperator,
  QUERY_PARAM: (name) =>
    name === "" ? "needs the name of a parameter" : (record) => queryParameter(record, name),
  QUERY_PARAMS: (kind) =>
    kind === "" || kind === "ORIG" ? (record) => present(queryOf(record)) : "takes ORIG or nothing",
};
