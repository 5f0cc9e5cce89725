/**
 * How an authorization service is asked over gRPC, and what its answer means: Envoy's `grpc_service`.
 * Pure: the filter sends the question and acts on the answer.
 */
import type { DynamicMetadata } from "../../telemetry/request-record.ts";
import { decodeCertificateNames } from "../../wire/certificate-names.ts";
import {
  type HeaderValue,
  type HeaderValueOption,
  HeaderValueOption_HeaderAppendAction as AppendAction,
  type Metadata,
} from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { GrpcService } from "../../wire/gen/ts/envoy/config/core/v3/grpc_service.ts";
import type { ExtAuthz } from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import type { AttributeContext_Peer as Peer } from "../../wire/gen/ts/envoy/service/auth/v3/attribute_context.ts";
import {
  CheckRequest,
  CheckResponse,
  type DeniedHttpResponse,
  type OkHttpResponse,
} from "../../wire/gen/ts/envoy/service/auth/v3/external_auth.ts";
import { GrpcMessageReader, grpcPrefix, grpcStatus, parseGrpcStatus } from "../../wire/grpc.ts";
import { durationMs } from "../engine/duration.ts";
import { protoAddress } from "../engine/proto-address.ts";
import { canStandInQuery, type QueryChanges } from "../engine/query-edit.ts";
import { refuse } from "../engine/refusal.ts";
import { lowerAscii } from "../engine/text-test.ts";
import type { CallAnswer } from "./cluster-call.ts";
import type {
  AnswerAction,
  AnswerField,
  AuthzService,
  AuthzSubject,
  CheckBody,
  Decision,
  Field,
} from "./ext-authz-service.ts";
import { anyOf } from "./ext-authz-service.ts";
import { bytesOf, isStatus, statusIn } from "./ext-authz-status.ts";
import { framingFields } from "./framing-fields.ts";
import { pemOf } from "./client-cert.ts";

const timeoutDefaultMs = 200;
const answerBytesMax = 1024 * 1024;
const checkPath = "/envoy.service.auth.v3.Authorization/Check";
const partialBodyHeader = "x-envoy-auth-partial-body";

export function compileGrpcService(
  config: ExtAuthz,
  service: GrpcService,
  path: string,
): AuthzService {
  const place = `${path}.grpc_service`;
  const { envoyGrpc } = service;
  if (envoyGrpc === undefined) return refuse(place, "only envoy_grpc is supported");
  const { clusterName: cluster, authority } = envoyGrpc;
  if (cluster === "") refuse(`${place}.envoy_grpc.cluster_name`, "is required");
  const timeoutMs = durationMs(service.timeout) ?? timeoutDefaultMs;
  const isAllowed =
    config.allowedHeaders === undefined
      ? (): boolean => true
      : anyOf(config.allowedHeaders, `${path}.allowed_headers`);
  const isDisallowed = anyOf(config.disallowedHeaders, `${path}.disallowed_headers`);
  const isTold = (name: string): boolean =>
    name !== partialBodyHeader && isAllowed(name) && !isDisallowed(name);
  const packsBytes = config.withRequestBody?.packAsBytes ?? false;
  const isRaw = config.encodeRawHeaders;
  const { metadataContextNamespaces: namespaces, routeMetadataContextNamespaces: ofRoute } = config;
  return {
    retry: undefined,
    question(subject, body) {
      const message = CheckRequest.encode({
        attributes: {
          source: sourceOf(subject, config.includePeerCertificate),
          destination: destinationOf(subject),
          request: requestOf(subject, body, { isTold, packsBytes, isRaw }),
          metadataContext: metadataOf(namespaces, subject.request.connection, subject.request),
          routeMetadataContext: routeMetadataOf(ofRoute, subject),
          contextExtensions: { ...subject.contextExtensions },
          tlsSession: config.includeTlsSession
            ? { sni: subject.record.requestedServerName }
            : undefined,
        },
      }).finish();
      return {
        cluster,
        method: "POST",
        path: checkPath,
        authority: authority === "" ? cluster : authority,
        headers: [
          ["te", "trailers"],
          ["grpc-timeout", `${Math.ceil(timeoutMs)}m`],
          ["content-type", "application/grpc"],
          ["x-envoy-internal", "true"],
        ],
        body: Buffer.concat([grpcPrefix(message.length), message]),
        timeoutMs,
        answerBytesMax,
        takesPart: true,
      };
    },
    decide: (answer) => decide(answer),
  };
}

function sourceOf({ request, record }: AuthzSubject, tellsCertificate: boolean): Peer {
  const der = record.downstreamTls?.peerCertificateDer;
  return {
    address: protoAddress(record.downstreamSourceAddress),
    service: request.header("x-envoy-downstream-service-cluster") ?? "",
    labels: {},
    principal: record.downstreamPeerUriSans[0] ?? otherNameOf(der),
    certificate: tellsCertificate && der !== undefined ? encodeURIComponent(pemOf(der)) : "",
  };
}

/** Of a certificate without URIs. */
function otherNameOf(der: Uint8Array | undefined): string {
  const names = der === undefined ? undefined : decodeCertificateNames(der);
  return names?.dnsSans[0] ?? names?.subject ?? "";
}

function destinationOf({ record }: AuthzSubject): Peer {
  return {
    address: protoAddress(record.downstreamLocalAddress),
    service: "",
    labels: {},
    principal: record.downstreamLocalUriSans[0] ?? "",
    certificate: "",
  };
}

/** What the later of those who say something under a namespace has said. */
function metadataOf(
  namespaces: readonly string[],
  ...sayers: readonly { readonly metadata?: DynamicMetadata | undefined }[]
): Metadata {
  const filterMetadata: Metadata["filterMetadata"] = {};
  for (const { metadata } of sayers) {
    for (const namespace of namespaces) {
      const fields = metadata?.get(namespace);
      if (fields !== undefined) filterMetadata[namespace] = fields;
    }
  }
  return { filterMetadata, typedFilterMetadata: {} };
}

function routeMetadataOf(namespaces: readonly string[], { record }: AuthzSubject): Metadata {
  const filterMetadata: Metadata["filterMetadata"] = {};
  for (const namespace of namespaces) {
    const fields = record.routeMetadata?.[namespace];
    // Metadata of a route are structures by their name.
    if (isStructure(fields)) filterMetadata[namespace] = fields;
  }
  return { filterMetadata, typedFilterMetadata: {} };
}

function isStructure(value: unknown): value is { [field: string]: unknown } {
  return typeof value === "object" && value !== null;
}

interface HeadersTold {
  readonly isTold: (name: string) => boolean;
  readonly packsBytes: boolean;
  /** As bytes, whatever they are in UTF-8. */
  readonly isRaw: boolean;
}

function requestOf(
  { request, record }: AuthzSubject,
  body: CheckBody | undefined,
  { isTold, packsBytes, isRaw }: HeadersTold,
) {
  const told: Field[] = [];
  const tell = (name: string, value: string): void => {
    if (isTold(name)) told.push([name, value]);
  };
  const { method, path, authority, scheme } = request;
  tell(":method", method);
  tell(":authority", authority);
  if (path !== "") tell(":path", path);
  if (scheme !== "") tell(":scheme", scheme);
  request.headers.forEach((name, value) => {
    if (name !== "host") tell(name, value);
  });
  if (body !== undefined) told.push([partialBodyHeader, String(body.isPartial)]);
  return {
    time: new Date(record.startMs),
    http: {
      id: String(Math.floor(Math.random() * 2 ** 53)),
      method,
      headers: isRaw ? {} : joinedHeaders(told),
      headerMap: isRaw ? { headers: told.map(rawHeader) } : undefined,
      path: utf8(path),
      host: utf8(authority),
      scheme,
      query: "",
      fragment: "",
      size: BigInt(record.bytesReceived),
      protocol: record.protocol,
      body: body === undefined || packsBytes ? "" : Buffer.from(body.bytes).toString("utf8"),
      rawBody: body !== undefined && packsBytes ? body.bytes : new Uint8Array(0),
    },
  };
}

/** One text for each name. */
function joinedHeaders(told: readonly Field[]): Record<string, string> {
  const joined = new Map<string, string>();
  for (const [name, value] of told) {
    const before = joined.get(name);
    joined.set(name, before === undefined ? value : `${before},${value}`);
  }
  return Object.fromEntries([...joined].map(([name, value]) => [name, utf8(value)]));
}

function rawHeader([key, value]: Field): HeaderValue {
  return { key, value: "", rawValue: Buffer.from(value, "latin1") };
}

/** Texts of requests are one byte a unit; a message's are UTF-8. */
function utf8(text: string): string {
  return /^[\x20-\x7e]*$/.test(text) ? text : Buffer.from(text, "latin1").toString("utf8");
}

function decide({ status, head, trailers, body, ending }: CallAnswer): Decision {
  // It has decided, in more words than are read: that may be a denial.
  if (ending === "too-long" && status === 200) return { kind: "invalid" };
  if (ending !== "whole") return { kind: "error" };
  const code = trailers?.joined("grpc-status") ?? head.joined("grpc-status");
  if (status !== 200 || parseGrpcStatus(code) !== grpcStatus.ok) return { kind: "error" };
  const response = messageIn(body);
  return response === undefined ? { kind: "error" } : meaningOf(response);
}

/** The one message of the answer; undefined for anything else. */
function messageIn(body: Buffer): CheckResponse | undefined {
  const found: CheckResponse[] = [];
  try {
    const reader = new GrpcMessageReader(answerBytesMax);
    const error = reader.read(body, (message) => {
      found.push(CheckResponse.decode(message));
    });
    return error === undefined && !reader.isPartial && found.length === 1 ? found[0] : undefined;
  } catch {
    return undefined;
  }
}

function meaningOf(response: CheckResponse): Decision {
  const ok: Partial<OkHttpResponse> = response.okResponse ?? {};
  // As Envoy: what is deprecated there counts as long as it is there.
  const metadata = ok.dynamicMetadata ?? response.dynamicMetadata ?? {};
  if ((response.status?.code ?? 0) === 0) return allowed(ok, metadata);
  const { errorResponse, deniedResponse } = response;
  if (errorResponse !== undefined) {
    const said = saidBy(errorResponse);
    if (said === undefined) return { kind: "error" };
    const fields = said.changes.map(({ field }) => field);
    return { kind: "error", answer: { ...said, fields, metadata } };
  }
  const said = saidBy(deniedResponse);
  // It has denied, however badly it says so.
  if (said === undefined) return { kind: "invalid" };
  // Envoy leaves out of a denial what shall be appended.
  const fields = said.changes.filter(({ append }) => append !== true).map(({ field }) => field);
  const { body } = said;
  return { kind: "denied", status: said.status || 403, body, isCut: false, fields, metadata };
}

interface Said {
  /** 0: nothing is said of it. */
  readonly status: number;
  readonly body: string;
  readonly changes: readonly Change[];
}

/** For the client; undefined where it cannot be said. */
function saidBy(answer: DeniedHttpResponse | undefined): Said | undefined {
  const headers = answer?.headers ?? [];
  const changes = changesOf(headers);
  const status = statusIn(headers) ?? answer?.status?.code ?? 0;
  if (changes === undefined || (status !== 0 && !(status >= 200 && status <= 599)))
    return undefined;
  return { status, body: Buffer.from(answer?.body ?? "").toString("latin1"), changes };
}

function allowed(
  ok: Partial<OkHttpResponse>,
  metadata: Readonly<Record<string, unknown>>,
): Decision {
  const changes = changesOf(ok.headers ?? [], true);
  const forClient = changesOf(ok.responseHeadersToAdd ?? []);
  const query = queryOf(ok);
  // What cannot be done as it was said is not done by half, and the request does not pass without it.
  const isUnsound = changes === undefined || forClient === undefined || query === "broken";
  // Nor does an endpoint's answer get another status, where Envoy would give it one, or none.
  if (isUnsound || (ok.responseHeadersToAdd ?? []).some(isStatus)) {
    return { kind: "invalid" };
  }
  const which = (appends: boolean): readonly Field[] =>
    changes.filter(({ append = false }) => append === appends).map(({ field }) => field);
  return {
    kind: "allowed",
    set: which(false),
    append: [],
    join: which(true),
    remove: (ok.headersToRemove ?? []).map(lowerAscii),
    query,
    response: forClient
      .map(({ field, append, action }): AnswerField => [...field, answerAction(append, action)])
      .toSorted(([, , a], [, , b]) => order.indexOf(a) - order.indexOf(b)),
    metadata,
  };
}

/** Undefined: nothing changes. */
function queryOf({
  queryParametersToSet = [],
  queryParametersToRemove: remove = [],
}: Partial<OkHttpResponse>): QueryChanges | "broken" | undefined {
  if (queryParametersToSet.length + remove.length === 0) return undefined;
  const set = queryParametersToSet.map(({ key, value }) => [key, value] as const);
  return set.flat().every(canStandInQuery) ? { set, remove } : "broken";
}

interface Change {
  readonly field: Field;
  /** Undefined: nothing is said of it in the old way. */
  readonly append: boolean | undefined;
  readonly action: AppendAction;
}

/** In which Envoy changes an answer. */
const order: readonly AnswerAction[] = ["add", "set", "add-if-absent", "overwrite-if-exists"];

function answerAction(append: boolean | undefined, action: AppendAction): AnswerAction {
  if (append !== undefined) return append ? "add" : "set";
  switch (action) {
    case AppendAction.ADD_IF_ABSENT:
      return "add-if-absent";
    case AppendAction.OVERWRITE_IF_EXISTS:
      return "overwrite-if-exists";
    case AppendAction.OVERWRITE_IF_EXISTS_OR_ADD:
      return "set";
    case AppendAction.APPEND_IF_EXISTS_OR_ADD:
    case AppendAction.UNRECOGNIZED:
    default:
      return "add";
  }
}

/** What of a request says whom it is for, which a service may change as Envoy lets it. */
const targetFields: ReadonlySet<string> = new Set([
  ":path",
  ":method",
  ":authority",
  ":scheme",
  "host",
]);
const nameCharacters = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
// oxlint-disable-next-line no-control-regex -- they are what is looked for
const forbidden = /[\0-\x08\x0a-\x1f\x7f]/;

/** Undefined where one of them could become another message, or says what is not known. */
function changesOf(
  options: readonly HeaderValueOption[],
  ofRequest = false,
): readonly Change[] | undefined {
  const changes: Change[] = [];
  for (const option of options) {
    const { header, append, appendAction: action } = option;
    const name = lowerAscii(header?.key ?? "");
    const isTarget = targetFields.has(name) && ofRequest;
    const value = bytesOf(option).toString("latin1");
    if (!isTarget && (name.startsWith(":") || framingFields.has(name))) continue;
    if ((!isTarget && !nameCharacters.test(name)) || forbidden.test(value)) return undefined;
    if (!knownActions.has(action)) return undefined;
    changes.push({ field: [name, value], append, action });
  }
  return changes;
}

const knownActions: ReadonlySet<AppendAction> = new Set([
  AppendAction.APPEND_IF_EXISTS_OR_ADD,
  AppendAction.ADD_IF_ABSENT,
  AppendAction.OVERWRITE_IF_EXISTS,
  AppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
]);
