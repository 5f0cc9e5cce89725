/**
 * What each `%OPERATOR%` of an access-log format says about a request. Names and meanings are
 * Envoy's; an operator that is not here is refused when the format is compiled, never ignored.
 */
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import type { RequestRecord } from "./request-record.ts";

/** Undefined means there is nothing to say (`-` in text, `null` in JSON). */
export type Operator = (record: RequestRecord) => string | number | undefined;

/** The operator for what stands between the `%`, or why there is none. */
export function operatorFor(text: string): Operator | string {
  const parsed = /^([A-Z0-9_]+)(?:\((.*)\))?(?::(\d+))?$/s.exec(text);
  const name = parsed?.[1];
  if (name === undefined) return "is not an operator";
  const [, , argument, limit] = parsed ?? [];
  const simple = Object.hasOwn(simpleOperators, name) ? simpleOperators[name] : undefined;
  let operator: Operator | string;
  if (simple !== undefined && argument === undefined) operator = simple;
  else if (Object.hasOwn(argumentOperators, name)) {
    operator = argumentOperators[name]?.(argument ?? "") ?? "is not an operator";
  } else operator = simple === undefined ? "is not supported" : "takes no argument";
  if (typeof operator === "string" || limit === undefined) return operator;
  const charsMax = Number(limit);
  const whole = operator;
  return (record) => {
    const value = whole(record);
    return typeof value === "string" ? value.slice(0, charsMax) : value;
  };
}

const simpleOperators: { readonly [name: string]: Operator } = {
  PROTOCOL: (record) => present(record.protocol),
  RESPONSE_CODE: (record) => record.responseCode,
  RESPONSE_FLAGS: (record) => (record.responseFlags === "" ? "-" : record.responseFlags),
  RESPONSE_CODE_DETAILS: (record) => presentWord(record.responseCodeDetails),
  CONNECTION_TERMINATION_DETAILS: (record) => present(record.connectionTerminationDetails),
  UPSTREAM_TRANSPORT_FAILURE_REASON: (record) => presentWord(record.upstreamTransportFailureReason),
  BYTES_RECEIVED: (record) => record.bytesReceived,
  BYTES_SENT: (record) => record.bytesSent,
  DURATION: (record) => Math.floor(record.durationMs),
  UPSTREAM_HOST: (record) => address(record.upstreamHost),
  UPSTREAM_REMOTE_ADDRESS: (record) => address(record.upstreamHost),
  UPSTREAM_CLUSTER: (record) => present(record.upstreamCluster),
  UPSTREAM_CLUSTER_RAW: (record) => present(record.upstreamCluster),
  UPSTREAM_LOCAL_ADDRESS: (record) => address(record.upstreamLocalAddress),
  UPSTREAM_REQUEST_ATTEMPT_COUNT: (record) => record.upstreamAttempts,
  DOWNSTREAM_LOCAL_ADDRESS: (record) => address(record.downstreamLocalAddress),
  DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT: (record) => present(record.downstreamLocalAddress.address),
  DOWNSTREAM_LOCAL_PORT: (record) => record.downstreamLocalAddress.port,
  DOWNSTREAM_REMOTE_ADDRESS: (record) => address(record.downstreamRemoteAddress),
  DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT: (record) =>
    present(record.downstreamRemoteAddress.address),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS: (record) => address(directAddress(record)),
  DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT: (record) => present(directAddress(record).address),
  DOWNSTREAM_TLS_VERSION: (record) => present(record.downstreamTlsVersion),
  DOWNSTREAM_PEER_URI_SAN: (record) => list(record.downstreamPeerUriSans),
  DOWNSTREAM_LOCAL_URI_SAN: (record) => list(record.downstreamLocalUriSans),
  DOWNSTREAM_PEER_SUBJECT: (record) =>
    present(record.downstreamPeerSubject ?? commonNameSubject(record.downstreamPeerCommonName)),
  UPSTREAM_PEER_URI_SAN: (record) => list(record.upstreamPeerUriSans),
  UPSTREAM_LOCAL_URI_SAN: (record) => list(record.upstreamLocalUriSans),
  REQUESTED_SERVER_NAME: (record) => present(record.requestedServerName),
  ROUTE_NAME: (record) => present(record.routeName),
  GRPC_STATUS_NUMBER: (record) => record.grpcStatus,
  GRPC_STATUS: (record) =>
    record.grpcStatus === undefined
      ? undefined
      : (grpcStatusNames[record.grpcStatus] ?? String(record.grpcStatus)),
  TRACE_ID: (record) => present(record.traceId),
  SPAN_ID: (record) => present(record.spanId),
  ACCESS_LOG_TYPE: (record) =>
    record.entryType ?? (record.kind === "http" ? "DownstreamEnd" : "TcpConnectionEnd"),
  START_TIME: (record) => isoTime(record.startMs),
};

function commonNameSubject(commonName: string): string {
  return commonName === "" ? "" : `CN=${commonName}`;
}

const argumentOperators: {
  readonly [name: string]: (argument: string) => Operator | string;
} = {
  REQ: (argument) => headerOperator(argument, requestHeader),
  RESP: (argument) => headerOperator(argument, responseHeader),
  TRAILER: (argument) => headerOperator(argument, (record, name) => record.responseTrailer(name)),
  REQ_WITHOUT_QUERY: (argument) => {
    const whole = headerOperator(argument, requestHeader);
    if (typeof whole === "string") return whole;
    return (record) => {
      const value = whole(record);
      return typeof value === "string" ? value.split("?", 1)[0] : value;
    };
  },
  START_TIME: (argument) => timeOperator(argument),
  UPSTREAM_METADATA: (argument) => {
    const [filter = "", key, ...rest] = argument.split(":");
    if (key === undefined || rest.length > 0) return "needs FILTER:KEY";
    return (record) => present(record.upstreamMetadata?.[filter]?.[key]);
  },
  CLUSTER_METADATA: (argument) => {
    const [filter = "", ...keys] = argument.split(":");
    // A cluster keeps its metadata object as long as it lives: most requests ask for the same one.
    let last: unknown;
    let lastValue: string | number | undefined;
    return ({ clusterMetadata }) => {
      if (clusterMetadata === undefined) return undefined;
      if (clusterMetadata !== last) {
        lastValue = scalar(descend(clusterMetadata[filter], keys));
        last = clusterMetadata;
      }
      return lastValue;
    };
  },
  GRPC_STATUS: (argument) => {
    const by: Operator | undefined =
      simpleOperators[argument === "NUMBER" ? "GRPC_STATUS_NUMBER" : "GRPC_STATUS"];
    return by ?? "is not an operator";
  },
  // Envoy keeps the state from the first message on.
  FILTER_STATE: (argument) =>
    argument === "envoy.filters.http.grpc_stats:PLAIN"
      ? ({ requestMessages = 0, responseMessages = 0 }) =>
          requestMessages + responseMessages > 0
            ? `${requestMessages},${responseMessages}`
            : undefined
      : "names a filter state that is not kept",
};

type HeaderReader = (record: RequestRecord, name: string) => string | undefined;

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

function headerOperator(argument: string, read: HeaderReader): Operator | string {
  const [first = "", second, ...rest] = argument.toLowerCase().split("?");
  if (first === "" || rest.length > 0) return "needs HEADER or HEADER?FALLBACK";
  if (second === undefined) return (record) => read(record, first);
  return (record) => read(record, first) ?? read(record, second);
}

/** `%s`, `%3f`, `%Y` and their like; what is not known is refused. */
function timeOperator(format: string): Operator | string {
  const parts: ((at: Date) => string)[] = [];
  for (const [piece] of format.matchAll(/%\d?[a-zA-Z%]|[^%]+|%/g)) {
    const field = Object.hasOwn(timeFields, piece) ? timeFields[piece] : undefined;
    if (field !== undefined) parts.push(field);
    else if (piece.startsWith("%")) return `has the unknown time field ${piece}`;
    else parts.push(() => piece);
  }
  return (record) => {
    const at = new Date(record.startMs);
    return parts.map((part) => part(at)).join("");
  };
}

function directAddress(record: RequestRecord): SocketAddress {
  return record.downstreamDirectAddress ?? record.downstreamRemoteAddress;
}

const two = (value: number): string => String(value).padStart(2, "0");

const timeFields: { readonly [piece: string]: (at: Date) => string } = {
  "%Y": (at) => String(at.getUTCFullYear()),
  "%m": (at) => two(at.getUTCMonth() + 1),
  "%d": (at) => two(at.getUTCDate()),
  "%H": (at) => two(at.getUTCHours()),
  "%M": (at) => two(at.getUTCMinutes()),
  "%S": (at) => two(at.getUTCSeconds()),
  "%F": (at) => at.toISOString().slice(0, 10),
  "%T": (at) => at.toISOString().slice(11, 19),
  "%s": (at) => String(Math.floor(at.getTime() / 1000)),
  "%f": (at) => `${String(at.getUTCMilliseconds()).padStart(3, "0")}000000`,
  "%3f": (at) => String(at.getUTCMilliseconds()).padStart(3, "0"),
  "%6f": (at) => `${String(at.getUTCMilliseconds()).padStart(3, "0")}000`,
  "%9f": (at) => `${String(at.getUTCMilliseconds()).padStart(3, "0")}000000`,
  "%z": () => "+0000",
  "%Z": () => "UTC",
  "%%": () => "%",
};

const grpcStatusNames: readonly string[] =
  "OK Canceled Unknown InvalidArgument DeadlineExceeded NotFound AlreadyExists PermissionDenied ResourceExhausted FailedPrecondition Aborted OutOfRange Unimplemented Internal Unavailable DataLoss Unauthenticated".split(
    " ",
  );

function present(text: string | undefined): string | undefined {
  return text === "" ? undefined : text;
}

/** Envoy writes these as one word, so that a line can be split at blanks. */
function presentWord(text: string): string | undefined {
  if (text === "") return undefined;
  return text.includes(" ") ? text.replaceAll(" ", "_") : text;
}

function list(values: readonly string[]): string | undefined {
  return values.length < 2 ? values[0] : values.join(",");
}

let lastTimeMs = Number.NaN;
let lastTime = "";

/** Many requests start in the same millisecond. */
function isoTime(ms: number): string {
  const wholeMs = Math.floor(ms);
  if (wholeMs !== lastTimeMs) {
    lastTime = new Date(wholeMs).toISOString();
    lastTimeMs = wholeMs;
  }
  return lastTime;
}

/** Endpoints and connections keep their address objects as long as they live. */
const addressTexts = new WeakMap<SocketAddress, string>();

function address(value: SocketAddress | undefined): string | undefined {
  if (value === undefined || value.address === "") return undefined;
  let text = addressTexts.get(value);
  if (text === undefined) {
    text = formatSocketAddress(value);
    addressTexts.set(value, text);
  }
  return text;
}

function descend(value: unknown, keys: readonly string[]): unknown {
  let at = value;
  for (const key of keys) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = Object.getOwnPropertyDescriptor(at, key)?.value;
  }
  return at;
}

function scalar(value: unknown): string | number | undefined {
  if (typeof value === "string" || typeof value === "number") return value;
  return value === undefined || value === null ? undefined : JSON.stringify(value);
}
