/** Writes the head of a request towards its upstream, with what the route changes. */
import type { OtherNames, Spell } from "../../wire/header-case.ts";
import { known } from "../../wire/http1-tables.ts";
import type { Http1Writer } from "../../wire/http1-writer.ts";
import { tooCostly } from "../engine/regex-substitution.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import type { HttpRequest } from "./http-request.ts";
import type { HttpServices } from "./http-services.ts";
import { MessageHeaders } from "./message-headers.ts";
import type { StreamRecord } from "./stream-record.ts";

export interface UpstreamTarget {
  path: string;
  authority: string;
}

/** What is sent of a request, beside where it goes. */
export interface OutgoingRequest {
  readonly method: string;
  readonly scheme: string;
  readonly headers: MessageHeaders;
}

interface RewrittenStream {
  readonly request: HttpRequest;
  readonly record: StreamRecord;
  readonly services: Pick<HttpServices, "router">;
}

/**
 * Settles authority and path as the upstream shall see them. Logs show these too; what was asked for stands
 * in `x-envoy-original-path` and `x-envoy-original-host`. False: it would take too much work, nothing may be sent.
 */
export function rewriteTarget(
  target: UpstreamTarget,
  { request, record, services }: RewrittenStream,
  route: CompiledRoute,
  hostname: string,
): boolean {
  const { headers, authority } = request;
  // CONNECT has none, and none is made for it: what is written is its authority.
  const path = request.path === "" ? "" : route.rewritePath(request.path);
  const computed = route.hostRewriteFrom?.(request);
  if (path === tooCostly || computed === tooCostly) return false;
  const { isSilent } = services.router;
  if (path !== request.path && !isSilent) headers.set("x-envoy-original-path", request.path);
  record.path = path;
  target.path = path;
  target.authority = authority;
  const rewritten =
    computed ??
    route.hostRewrite ??
    (route.autoHostRewrite === true && hostname !== "" ? hostname : undefined);
  if (rewritten === undefined) return true;
  if (route.appendXForwardedHost) headers.add("x-forwarded-host", authority);
  if (!isSilent) headers.set("x-envoy-original-host", authority);
  record.authority = rewritten;
  target.authority = rewritten;
  return true;
}

/** A request to be sent when the stream that it came on may carry another. */
export function copyOfRequest({ method, scheme, headers: from }: OutgoingRequest): OutgoingRequest {
  const headers = new MessageHeaders();
  from.forEach((name, value) => headers.add(name, value));
  if (mustSayLength({ method, scheme, headers: from })) headers.add("content-length", "0");
  return { method, scheme, headers };
}

export function writeRequestHead(
  writer: Http1Writer,
  request: OutgoingRequest,
  target: Readonly<UpstreamTarget>,
  attempt: AttemptFields,
): void {
  // Ours alone, or it would say what a client made up, or both.
  if (attempt.count > 0) request.headers.remove("x-envoy-attempt-count");
  const spell = request.headers.spelling(attempt.otherNames ?? "lower");
  writer.text(request.method);
  writer.text(" ");
  // Of CONNECT the target is the authority.
  writer.text(target.path === "" ? target.authority : target.path);
  if (spell !== undefined) return writeSpelled(writer, request, { target, attempt, spell });
  writer.text(" HTTP/1.1\r\nhost: ");
  writer.text(target.authority);
  writer.lineEnd();
  request.headers.writeTo(writer);
  if (mustSayLength(request)) writer.text("content-length: 0\r\n");
  if (attempt.expectedMs > 0) {
    writer.field("x-envoy-expected-rq-timeout-ms", String(attempt.expectedMs));
  }
  if (attempt.count > 0) writer.field("x-envoy-attempt-count", String(attempt.count));
  if (attempt.isUpgrade) writer.text("connection: upgrade\r\n");
  writer.lineEnd();
}

function writeSpelled(
  writer: Http1Writer,
  request: OutgoingRequest,
  how: {
    readonly target: Readonly<UpstreamTarget>;
    readonly attempt: AttemptFields;
    readonly spell: Spell;
  },
): void {
  const { target, attempt, spell } = how;
  const field = (name: string, value: string): void => writer.field(spell(name), value);
  writer.text(" HTTP/1.1\r\n");
  field("host", target.authority);
  request.headers.writeSpelled(writer, spell);
  if (mustSayLength(request)) field("content-length", "0");
  if (attempt.expectedMs > 0) field("x-envoy-expected-rq-timeout-ms", String(attempt.expectedMs));
  if (attempt.count > 0) field("x-envoy-attempt-count", String(attempt.count));
  if (attempt.isUpgrade) field("connection", "upgrade");
  writer.lineEnd();
}

/** What differs from attempt to attempt. */
export interface AttemptFields {
  /** Milliseconds the upstream may take; 0: not told. */
  readonly expectedMs: number;
  /** 0: not told. */
  readonly count: number;
  readonly isUpgrade: boolean;
  /** Of names that the request's client has not spelled; lower unless told. */
  readonly otherNames?: OtherNames;
}

/** Of these nobody expects a body (RFC 9110 section 8.6). */
const bodilessMethods: ReadonlySet<string> = new Set(["GET", "HEAD", "DELETE", "TRACE", "CONNECT"]);

/** A body could be expected, none follows, and nobody said so. */
function mustSayLength({ method, headers: { head } }: OutgoingRequest): boolean {
  if (bodilessMethods.has(method)) return false;
  return head !== undefined && head.bodyKind === "none" && head.findId(known.contentLength) < 0;
}
