/**
 * What each `%OPERATOR%` of an access-log format says about a request. Names and meanings are
 * Envoy's; an operator that is not here is refused when the format is compiled, never ignored.
 */
import { coalesceOperator, shortened } from "./access-log/coalesce-operator.ts";
import {
  connectionOperatorMakers,
  connectionOperators,
} from "./access-log/connection-operators.ts";
import { headerOperatorMakers, headerOperators } from "./access-log/header-operators.ts";
import { metadataOperatorMakers } from "./access-log/metadata-operators.ts";
import {
  type FormatExtensions,
  type Operator,
  type OperatorMaker,
  present,
  presentWord,
} from "./access-log/operator.ts";
import { longFlagNames } from "./access-log/response-flags.ts";
import { timeOperatorMakers, timeOperators } from "./access-log/time-operators.ts";
import { newRequestId } from "./random-ids.ts";
import type { RequestRecord } from "./request-record.ts";

export {
  type FormatExtensions,
  impossible,
  type JsonValue,
  type Operator,
  type OperatorValue,
} from "./access-log/operator.ts";

/** The operator for what stands between the `%`, or why there is none. */
export function operatorFor(text: string, extensions: FormatExtensions = {}): Operator | string {
  const parsed = /^([A-Z0-9_]+)(?:\((.*)\))?(?::(\d+))?$/s.exec(text);
  const name = parsed?.[1];
  if (name === undefined) return "is not an operator";
  const [, , argument, limit] = parsed ?? [];
  const operator = findOperator(name, argument, extensions);
  if (typeof operator === "string" || limit === undefined) return operator;
  return shortened(operator, Number(limit));
}

function findOperator(
  name: string,
  argument: string | undefined,
  extensions: FormatExtensions,
): Operator | string {
  const { environment, hostName, localReplyBody } = extensions;
  const simple = Object.hasOwn(simpleOperators, name) ? simpleOperators[name] : undefined;
  if (simple !== undefined && (argument === undefined || argument === "")) return simple;
  const compileCel = name === "TYPED_CEL" ? extensions.compileTypedCel : extensions.compileCel;
  if (/^(?:TYPED_)?CEL$/.test(name) && compileCel !== undefined) return compileCel(argument ?? "");
  if (name === "HOSTNAME" && hostName !== undefined) return () => hostName;
  if (name === "ENVIRONMENT" && environment !== undefined) return ofProcess(argument, environment);
  if (name === "COALESCE") return coalesceOperator(argument ?? "", extensions, findOperator);
  if (name === "LOCAL_REPLY_BODY" && localReplyBody !== undefined) return localReplyBody;
  const maker = Object.hasOwn(operatorMakers, name) ? operatorMakers[name] : undefined;
  if (maker !== undefined) return maker(argument ?? "");
  return simple === undefined ? "is not supported" : "takes no argument";
}

/** A variable that is not there reads `-` in JSON, too, as in Envoy. */
function ofProcess(
  name: string = "",
  environment: NonNullable<FormatExtensions["environment"]>,
): Operator | string {
  if (name === "") return "needs the name of a variable";
  const value = (Object.hasOwn(environment, name) ? environment[name] : undefined) ?? "-";
  return () => value;
}

const endTypes = { http: "DownstreamEnd", tcp: "TcpConnectionEnd", udp: "UdpSessionEnd" } as const;

const simpleOperators: { readonly [name: string]: Operator } = {
  ...timeOperators,
  ...headerOperators,
  ...connectionOperators,
  PROTOCOL: (record) => present(record.protocol),
  UPSTREAM_PROTOCOL: (record) => present(record.upstreamProtocol),
  RESPONSE_CODE: (record) => record.responseCode,
  RESPONSE_FLAGS: (record) => (record.responseFlags === "" ? "-" : record.responseFlags),
  RESPONSE_FLAGS_LONG: (record) =>
    record.responseFlags === "" ? "-" : longFlagNames(record.responseFlags),
  RESPONSE_CODE_DETAILS: (record) => presentWord(record.responseCodeDetails),
  CONNECTION_TERMINATION_DETAILS: (record) => present(record.connectionTerminationDetails),
  BYTES_RECEIVED: (record) => record.bytesReceived,
  BYTES_SENT: (record) => record.bytesSent,
  // Of HTTP/3 alone.
  BYTES_RETRANSMITTED: () => 0,
  PACKETS_RETRANSMITTED: () => 0,
  UPSTREAM_CLUSTER: (record) => present(record.upstreamCluster),
  UPSTREAM_CLUSTER_RAW: (record) => present(record.upstreamCluster),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (record) => record.upstreamAttempts,
  // Virtual clusters are refused, so no request is in one.
  VIRTUAL_CLUSTER_NAME: () => undefined,
  ROUTE_NAME: (record) => present(record.routeName),
  GRPC_STATUS_NUMBER: grpcStatusOf,
  GRPC_STATUS: (record) => grpcStatusName(grpcStatusOf(record)),
  TRACE_ID: (record) => present(record.traceId),
  SPAN_ID: (record) => present(record.spanId),
  STREAM_ID: (record) => present(record.requestId),
  UNIQUE_ID: () => newRequestId(),
  ACCESS_LOG_TYPE: (record) => record.entryType ?? endTypes[record.kind],
};

const operatorMakers: { readonly [name: string]: OperatorMaker } = {
  ...timeOperatorMakers,
  ...headerOperatorMakers,
  ...connectionOperatorMakers,
  ...metadataOperatorMakers,
  RESPONSE_CODE_DETAILS: (argument) =>
    argument === "ALLOW_WHITESPACES"
      ? (record) => present(record.responseCodeDetails)
      : "takes ALLOW_WHITESPACES or nothing",
  GRPC_STATUS: (argument) => {
    if (argument === "NUMBER") return grpcStatusOf;
    if (argument === "CAMEL_STRING") return (record) => grpcStatusName(grpcStatusOf(record));
    if (argument !== "SNAKE_STRING") return "takes CAMEL_STRING, SNAKE_STRING or NUMBER";
    return (record) => snakeCase(grpcStatusName(grpcStatusOf(record)));
  },
};

/** Every name that is understood, with or without an argument; for documentation and tests. */
export const operatorNames: readonly string[] = [
  ...new Set([
    ...Object.keys(simpleOperators),
    ...Object.keys(operatorMakers),
    "CEL",
    "COALESCE",
    "ENVIRONMENT",
    "HOSTNAME",
    "TYPED_CEL",
  ]),
].toSorted();

const grpcStatusNames: readonly string[] =
  "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated".split(
    " ",
  );

const grpcContentType = /^application\/grpc(?:\+|$)/;

/** Of calls of gRPC alone, whatever the answer to another request says. */
function grpcStatusOf(record: RequestRecord): number | undefined {
  if (record.grpcStatus === undefined) return undefined;
  return grpcContentType.test(record.requestHeader("content-type") ?? "")
    ? record.grpcStatus
    : undefined;
}

function grpcStatusName(status: number | undefined): string | undefined {
  return status === undefined ? undefined : (grpcStatusNames[status] ?? String(status));
}

function snakeCase(name: string | undefined): string | undefined {
  // The one name that the two spellings do not share letter for letter.
  if (name === "Canceled") return "CANCELLED";
  return name?.replaceAll(/([a-z])([A-Z])/g, "$1_$2").toUpperCase();
}
