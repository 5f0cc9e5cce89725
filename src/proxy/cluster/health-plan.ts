/**
 * A cluster's active health check, compiled: when to ask, what to ask, which answers pass. Throws a
 * refusal for what cannot be honoured.
 */
import type {
  HealthCheck,
  HealthCheck_GrpcHealthCheck as GrpcCheck,
  HealthCheck_HttpHealthCheck as HttpCheck,
  HealthCheck_Payload as Payload,
  HealthCheck_TcpHealthCheck as TcpCheck,
} from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import { RequestMethod } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { CodecClientType } from "../../wire/gen/ts/envoy/type/v3/http.ts";
import type { Int64Range } from "../../wire/gen/ts/envoy/type/v3/range.ts";
import { compileHeaderEdit, type HeaderEdit } from "../engine/header-edit.ts";
import { compileAdditions, compileHeaderLevel } from "../engine/header-operations.ts";
import { compileHealthSettings, type HealthSettings } from "../engine/health-check.ts";
import { refuse } from "../engine/refusal.ts";
import { compileStringMatcher } from "../engine/string-matcher.ts";
import type { TextPredicate } from "../engine/text-test.ts";
import type { EndpointMetadata } from "./endpoint.ts";
import { compileEvents, type EventPlan } from "./health-events.ts";
import { flattenMetadata } from "./metadata.ts";

export interface HealthPlan {
  /** An endpoint is as well as the check says that thinks least of it. */
  readonly checks: readonly [CheckPlan, ...CheckPlan[]];
  /** New endpoints are not counted before their first checks are over. */
  readonly ignoresNew: boolean;
  /** Endpoints leave when they are named no more, whatever their health. */
  readonly forgetsHealthy: boolean;
}

export interface CheckPlan {
  /** Empty: it has none, and is the only one. */
  readonly name: string;
  readonly settings: HealthSettings;
  readonly probe: HttpProbePlan | GrpcProbePlan | TcpProbePlan;
  readonly reusesConnections: boolean;
  /** Where it is written what checks have found; undefined: nowhere. */
  readonly events: EventPlan | undefined;
  /** Replaces the protocols that TLS offers. */
  readonly alpn: readonly string[] | undefined;
  /** Chooses the transport socket of checks instead of the endpoint's own metadata. */
  readonly socketMetadata: EndpointMetadata | undefined;
}

export interface HttpProbePlan {
  readonly kind: "http";
  readonly version: "HTTP/1.1" | "HTTP/2";
  readonly method: string;
  readonly path: string;
  /** Where neither the endpoint nor the check names a host. */
  readonly host: string;
  readonly edit: HeaderEdit | undefined;
  readonly body: Uint8Array | undefined;
  readonly isExpected: (status: number) => boolean;
  readonly isRetriable: (status: number) => boolean;
  readonly receive: readonly Uint8Array[];
  readonly bufferBytesMax: number;
  /** What the answer must say of the server's own cluster. */
  readonly service: TextPredicate | undefined;
}

export interface GrpcProbePlan {
  readonly kind: "grpc";
  /** Empty: the server is asked about itself. */
  readonly service: string;
  /** Where neither the endpoint nor the check names a host. */
  readonly host: string;
  readonly edit: HeaderEdit | undefined;
}

export interface TcpProbePlan {
  readonly kind: "tcp";
  readonly send: Uint8Array | undefined;
  /** None: that it can be connected to is enough. */
  readonly receive: readonly Uint8Array[];
}

/** Each asks every endpoint. */
const checksMax = 16;
const bufferBytesDefault = 1024;
/** Where configuration sets no limit. */
const bufferBytesMost = 1024 * 1024;

export function compileHealth(
  cluster: Cluster,
  { speaksHttp2 }: { readonly speaksHttp2: boolean },
): HealthPlan | undefined {
  if (cluster.healthChecks.length > checksMax)
    refuse("health_checks", `are more than ${checksMax}`);
  const names = new Set<string>();
  const [first, ...others] = cluster.healthChecks.map((check, i, { length }) => {
    const path = `health_checks[${i}]`;
    if (length > 1 && check.name === "")
      refuse(`${path}.name`, "is required where there are several");
    if (names.has(check.name)) refuse(`${path}.name`, `'${check.name}' is another's`);
    names.add(check.name);
    return compileCheck(check, cluster.name, { path, speaksHttp2 });
  });
  if (first === undefined) return undefined;
  return {
    checks: [first, ...others],
    ignoresNew: cluster.commonLbConfig?.ignoreNewHostsUntilFirstHc === true,
    forgetsHealthy: cluster.ignoreHealthOnHostRemoval,
  };
}

function compileCheck(
  check: HealthCheck,
  clusterName: string,
  { path, speaksHttp2 }: { readonly path: string; readonly speaksHttp2: boolean },
): CheckPlan {
  if (check.grpcHealthCheck !== undefined && !speaksHttp2) {
    refuse(`${path}.grpc_health_check`, "goes with clusters that speak HTTP/2 alone");
  }
  const criteria = check.transportSocketMatchCriteria;
  return {
    name: check.name,
    settings: compileHealthSettings(check, path),
    probe: compileProbe(check, clusterName, path),
    reusesConnections: check.reuseConnection ?? true,
    events: compileEvents(check, path),
    alpn: check.tlsOptions === undefined ? undefined : check.tlsOptions.alpnProtocols,
    socketMetadata:
      criteria === undefined
        ? undefined
        : flattenMetadata({
            filterMetadata: { "envoy.transport_socket_match": criteria },
            typedFilterMetadata: {},
          }),
  };
}

function compileProbe(check: HealthCheck, clusterName: string, path: string): CheckPlan["probe"] {
  const { httpHealthCheck: http, tcpHealthCheck: tcp, grpcHealthCheck: grpc } = check;
  if (http !== undefined) return compileHttp(http, clusterName, `${path}.http_health_check`);
  if (grpc !== undefined) return compileGrpc(grpc, clusterName, `${path}.grpc_health_check`);
  if (tcp !== undefined) return compileTcp(tcp, `${path}.tcp_health_check`);
  return refuse(path, "names no kind of check that is supported");
}

/** Of these no body is expected. */
const bodiless: ReadonlySet<RequestMethod> = new Set([
  RequestMethod.GET,
  RequestMethod.HEAD,
  RequestMethod.DELETE,
  RequestMethod.TRACE,
]);

function compileHttp(check: HttpCheck, clusterName: string, path: string): HttpProbePlan {
  const { GET, METHOD_UNSPECIFIED, CONNECT } = RequestMethod;
  const method = check.method === METHOD_UNSPECIFIED ? GET : check.method;
  if (method === CONNECT) refuse(`${path}.method`, "must not be CONNECT");
  if (check.send !== undefined && bodiless.has(method)) {
    refuse(`${path}.send`, "goes with methods that have a body alone");
  }
  const target = fieldText(check.path, `${path}.path`);
  if (target === "") refuse(`${path}.path`, "is required");
  const host = fieldText(check.host, `${path}.host`);
  const receive = check.receive.map((each, i) => payload(each, `${path}.receive[${i}]`));
  const buffer = Number(check.responseBufferSize ?? bufferBytesDefault);
  const expected = receive.reduce((sum, { length }) => sum + length, 0);
  if (buffer > 0 && expected > buffer)
    refuse(`${path}.receive`, "is more than is kept of an answer");
  const { requestHeadersToAdd, requestHeadersToRemove } = check;
  const { request: operations } = compileHeaderLevel(
    {
      requestHeadersToAdd,
      requestHeadersToRemove,
      responseHeadersToAdd: [],
      responseHeadersToRemove: [],
    },
    `${path}.`,
  );
  const { serviceNameMatcher } = check;
  return {
    kind: "http",
    version: versionOf(check.codecClientType, `${path}.codec_client_type`),
    method: methodName(method, `${path}.method`),
    path: target,
    host: host === "" ? clusterName : host,
    edit: compileHeaderEdit(operations),
    body: check.send === undefined ? undefined : payload(check.send, `${path}.send`),
    isExpected: inRanges(
      check.expectedStatuses.length === 0 ? [{ start: 200n, end: 201n }] : check.expectedStatuses,
      `${path}.expected_statuses`,
    ),
    isRetriable: inRanges(check.retriableStatuses, `${path}.retriable_statuses`),
    receive,
    bufferBytesMax: buffer === 0 ? bufferBytesMost : Math.min(buffer, bufferBytesMost),
    service:
      serviceNameMatcher === undefined
        ? undefined
        : compileStringMatcher(serviceNameMatcher, `${path}.service_name_matcher`),
  };
}

function versionOf(codec: CodecClientType, path: string): HttpProbePlan["version"] {
  if (codec === CodecClientType.HTTP1) return "HTTP/1.1";
  return codec === CodecClientType.HTTP2 ? "HTTP/2" : refuse(path, "HTTP3 is not supported");
}

function compileGrpc(check: GrpcCheck, clusterName: string, path: string): GrpcProbePlan {
  const host = fieldText(check.authority, `${path}.authority`);
  return {
    kind: "grpc",
    service: check.serviceName,
    host: host === "" ? clusterName : host,
    edit: compileHeaderEdit(compileAdditions(check.initialMetadata, `${path}.initial_metadata`)),
  };
}

function methodName(method: RequestMethod, path: string): string {
  const found = Object.entries(RequestMethod).find(([, value]) => value === method)?.[0];
  return found === undefined || method < 0 ? refuse(path, `${method} is not known`) : found;
}

/** It stands in a head as it is. */
function fieldText(text: string, path: string): string {
  return /^[\x21-\x7e]*$/.test(text) ? text : refuse(path, "has characters that no head may have");
}

function compileTcp(check: TcpCheck, path: string): TcpProbePlan {
  return {
    kind: "tcp",
    send: check.send === undefined ? undefined : payload(check.send, `${path}.send`),
    receive: check.receive.map((each, i) => payload(each, `${path}.receive[${i}]`)),
  };
}

/** Text is hexadecimal. */
function payload({ text, binary }: Payload, path: string): Uint8Array {
  if (binary !== undefined) return binary;
  if (text === undefined || !/^([0-9a-fA-F]{2})+$/.test(text)) {
    return refuse(`${path}.text`, "is no hexadecimal text");
  }
  return Buffer.from(text, "hex");
}

function inRanges(
  ranges: readonly Pick<Int64Range, "start" | "end">[],
  path: string,
): (status: number) => boolean {
  const bounds = ranges.map((range, i) => {
    const [start, end] = [Number(range.start), Number(range.end)];
    if (start >= end || start < 100 || end > 600) {
      refuse(`${path}[${i}]`, "must lie within 100 and 600 and not be empty");
    }
    return { start, end };
  });
  return (status) => bounds.some(({ start, end }) => status >= start && status < end);
}

/** Whether the parts stand in the bytes, one after another. */
export function holdsInOrder(bytes: Buffer, parts: readonly Uint8Array[]): boolean {
  let at = 0;
  for (const part of parts) {
    const found = bytes.indexOf(part, at);
    if (found < 0) return false;
    at = found + part.length;
  }
  return true;
}
