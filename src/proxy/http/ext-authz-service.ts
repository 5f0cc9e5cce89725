/**
 * How an authorization service is asked over HTTP, and what its answer means: Envoy's `http_service`.
 * Pure: the filter sends the question and acts on the answer.
 */
import type {
  BufferSettings,
  ExtAuthz,
  HttpService,
} from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import type { ListStringMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/string.ts";
import { durationMs } from "../engine/duration.ts";
import { bytesOf } from "../../base/latin1.ts";
import { compileHeaderFormat } from "../engine/header-format.ts";
import type { QueryChanges } from "../engine/query-edit.ts";
import { refuse } from "../engine/refusal.ts";
import type { RetryPolicy } from "../engine/route-table.ts";
import { compileStringMatcher } from "../engine/string-matcher.ts";
import { lowerAscii } from "../engine/text-test.ts";
import type { CallAnswer, CallRequest } from "./cluster-call.ts";
import { framingFields } from "./framing-fields.ts";
import type { HttpRequest } from "./http-request.ts";
import { compileCallRetries } from "./repeated-call.ts";
import type { StreamRecord } from "./stream-record.ts";

export type Field = readonly [name: string, value: string];
type NamePredicate = (name: string) => boolean;

/** What of a body goes with the question; it is `bytes` at most, and the whole unless `isPartial`. */
export interface CheckBody {
  readonly bytes: Uint8Array;
  readonly isPartial: boolean;
}

/** How a field is put into an answer. */
export type AnswerAction = "add" | "set" | "add-if-absent" | "overwrite-if-exists";
export type AnswerField = readonly [name: string, value: string, action: AnswerAction];

export type Decision =
  | {
      readonly kind: "error";
      /** What the service wants the client to hear of it, where it says that it has failed. */
      readonly answer?: {
        /** 0: as configured. */
        readonly status: number;
        readonly body: string;
        readonly fields: readonly Field[];
        readonly metadata: Readonly<Record<string, unknown>>;
      };
    }
  /** The service has decided, but what it says cannot be done: not even where failures let pass. */
  | { readonly kind: "invalid" }
  | {
      readonly kind: "denied";
      readonly status: number;
      readonly body: string;
      /** There was more of the body, or should have been. */
      readonly isCut: boolean;
      readonly fields: readonly Field[];
      readonly metadata: Readonly<Record<string, unknown>>;
    }
  | {
      readonly kind: "allowed";
      readonly set: readonly Field[];
      readonly append: readonly Field[];
      /** Joined to what the request has of that name. */
      readonly join: readonly Field[];
      readonly remove: readonly string[];
      readonly query: QueryChanges | undefined;
      /** For the client. */
      readonly response: readonly AnswerField[];
      readonly metadata: Readonly<Record<string, unknown>>;
    };

/** Whom and what is asked about. */
export interface AuthzSubject {
  readonly request: HttpRequest;
  readonly record: StreamRecord;
  /** What routes tell the service. */
  readonly contextExtensions: Readonly<Record<string, string>>;
}

export interface AuthzService {
  /** Undefined: it is asked once. */
  readonly retry: RetryPolicy | undefined;
  /** Undefined: the request cannot be asked about. */
  question(subject: AuthzSubject, body: CheckBody | undefined): CallRequest | undefined;
  decide(answer: CallAnswer): Decision;
}

const timeoutDefaultMs = 200;
/** Of the answer: a page for the client, at most. */
const answerBytesMax = 1024 * 1024;
const hasDenied = (status: number): boolean => status > 200 && status < 500;
const removalsHeader = "x-envoy-auth-headers-to-remove";

export function compileService(
  config: ExtAuthz,
  httpService: HttpService | undefined,
  path: string,
): AuthzService {
  if (httpService === undefined) return refuse(path, "names no service: http_service");
  const place = `${path}.http_service`;
  const { retryPolicy } = httpService;
  const retry = retryPolicy && compileCallRetries(retryPolicy, `${place}.retry_policy`);
  const compose = compileQuestion(config, httpService, { path, retry });
  const { authorizationResponse: lists } = httpService;
  const match = (list: ListStringMatcher | undefined, field: string): NamePredicate =>
    anyOf(list, `${place}.authorization_response.${field}`);
  const isSet = match(lists?.allowedUpstreamHeaders, "allowed_upstream_headers");
  const isAppended = match(
    lists?.allowedUpstreamHeadersToAppend,
    "allowed_upstream_headers_to_append",
  );
  const isForClient = match(
    lists?.allowedClientHeadersOnSuccess,
    "allowed_client_headers_on_success",
  );
  const isMetadata = match(lists?.dynamicMetadataFromHeaders, "dynamic_metadata_from_headers");
  const isForDenied = deniedFields(lists?.allowedClientHeaders, place);
  return {
    retry,
    question: compose,
    decide({ status, head, body, ending, durationMs: tookMs }) {
      if (status !== 200 && !hasDenied(status)) return { kind: "error" };
      // Its head is a denial; that it would let pass has to be said to the end.
      if (status === 200 && ending !== "whole") return { kind: "error" };
      const fields: Field[] = [];
      for (let at = 0; at < head.count; at++) {
        fields.push([lowerAscii(head.nameAt(at)), head.valueAt(at)]);
      }
      fields.push(["x-envoy-upstream-service-time", String(Math.floor(tookMs))]);
      const usable = fields.filter(([name]) => !framingFields.has(name) && name !== removalsHeader);
      const which = (wanted: NamePredicate): readonly Field[] =>
        usable.filter(([name]) => wanted(name));
      const metadata = Object.fromEntries(which(isMetadata));
      if (status !== 200) {
        return {
          kind: "denied",
          status,
          body: body.toString("latin1"),
          isCut: ending !== "whole",
          fields: which(isForDenied),
          metadata,
        };
      }
      return {
        kind: "allowed",
        set: which(isSet),
        append: which(isAppended),
        join: [],
        remove: fields
          .filter(([name]) => name === removalsHeader)
          .flatMap(([, value]) => value.split(","))
          .map((name) => lowerAscii(name.trim())),
        query: undefined,
        response: which(isForClient).map(([name, value]) => [name, value, "add"]),
        metadata,
      };
    },
  };
}

function compileQuestion(
  config: ExtAuthz,
  service: HttpService,
  { path, retry }: { readonly path: string; readonly retry: RetryPolicy | undefined },
): AuthzService["question"] {
  const place = `${path}.http_service`;
  const { serverUri, pathPrefix, pathOverride, authorizationRequest } = service;
  const cluster = serverUri?.cluster ?? "";
  if (cluster === "") refuse(`${place}.server_uri.cluster`, "is required");
  if (pathPrefix !== "" && !pathPrefix.startsWith("/")) {
    refuse(`${place}.path_prefix`, "must begin with a slash");
  }
  if (pathOverride !== "" && !pathOverride.startsWith("/")) {
    refuse(`${place}.path_override`, "must begin with a slash");
  }
  if (pathOverride !== "" && pathPrefix !== "") {
    refuse(`${place}.path_override`, "stands beside path_prefix");
  }
  // As Envoy: the filter says what is told, also where a route says whom.
  const listed = anyOf(
    config.httpService?.authorizationRequest?.allowedHeaders,
    `${place}.authorization_request.allowed_headers`,
  );
  const tellsAll = config.grpcService !== undefined && config.allowedHeaders === undefined;
  const allowed = tellsAll
    ? (): boolean => true
    : anyOf(config.allowedHeaders, `${path}.allowed_headers`);
  const disallowed = anyOf(config.disallowedHeaders, `${path}.disallowed_headers`);
  const isTold: NamePredicate = (name) =>
    (name === "authorization" || listed(name) || allowed(name)) &&
    !disallowed(name) &&
    !framingFields.has(name);
  const additions = (authorizationRequest?.headersToAdd ?? []).map((header, i) => {
    const at = `${place}.authorization_request.headers_to_add[${i}]`;
    const name = lowerAscii(header.key);
    if (name === "" || name.startsWith(":") || framingFields.has(name)) {
      refuse(`${at}.key`, `'${name}' cannot be set`);
    }
    if (header.rawValue.length > 0) refuse(`${at}.raw_value`, "is not supported");
    return { name, value: compileHeaderFormat(bytesOf(header.value), `${at}.value`) };
  });
  const timeoutMs = durationMs(serverUri?.timeout) ?? timeoutDefaultMs;
  const expectedMs = String(Math.min(timeoutMs, retry?.perTryTimeoutMs || timeoutMs));
  return ({ request }, body) => {
    // A CONNECT has no path that a service could be asked about.
    if (request.method === "CONNECT" || request.path === "") return undefined;
    const told = new Map<string, string>();
    request.headers.forEach((name, value) => {
      if (!isTold(name)) return;
      const before = told.get(name);
      told.set(name, before === undefined ? value : `${before},${value}`);
    });
    if (body !== undefined) told.set("x-envoy-auth-partial-body", String(body.isPartial));
    for (const { name, value } of additions) {
      const text = typeof value === "string" ? value : value(request);
      if (text !== "") told.set(name, text);
    }
    told.set("x-envoy-internal", "true");
    told.set("x-envoy-expected-rq-timeout-ms", expectedMs);
    return {
      cluster,
      method: request.method,
      path: pathOverride === "" ? pathPrefix + request.path : pathOverride,
      authority: request.authority,
      headers: [...told],
      body: body?.bytes ?? new Uint8Array(0),
      timeoutMs,
      answerBytesMax,
      takesPart: true,
    };
  };
}

/** Nothing where the list is missing. */
export function anyOf(list: ListStringMatcher | undefined, path: string): NamePredicate {
  const patterns = (list?.patterns ?? []).map((pattern, i) =>
    compileStringMatcher(pattern, `${path}.patterns[${i}]`),
  );
  return (name) => patterns.some((matches) => matches(name));
}

/** All of an answer where nothing is said. */
function deniedFields(list: ListStringMatcher | undefined, path: string): NamePredicate {
  if ((list?.patterns ?? []).length === 0) return () => true;
  const isListed = anyOf(list, `${path}.authorization_response.allowed_client_headers`);
  return (name) => name === "www-authenticate" || name === "location" || isListed(name);
}

/** Undefined: no body is asked about. */
export function compileBody(
  settings: BufferSettings | undefined,
  path: string,
): { readonly bytesMax: number; readonly allowsPartial: boolean } | undefined {
  if (settings === undefined) return undefined;
  const { maxRequestBytes, allowPartialMessage } = settings;
  if (maxRequestBytes === 0) refuse(`${path}.max_request_bytes`, "must be more than 0");
  return { bytesMax: maxRequestBytes, allowsPartial: allowPartialMessage };
}
