/**
 * Settles which host and path a request is for: forms of the request target (RFC 9112 section 3.2),
 * stripping of ports, path normalisation. Everything after this sees one authority and one path.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { isAuthority } from "../../wire/http1-framing.ts";
import { known, targetTable } from "../../wire/http1-tables.ts";
import type { FailureKind } from "./failure.ts";
import type { HttpRequest } from "./http-request.ts";
import { isPlainPath, normalizePath } from "./path.ts";
import type { HttpSettings } from "./settings.ts";

/** `redirect`: answer 307 with this path. */
export type TargetResult =
  | { readonly kind: "ok" }
  /** What follows is not read. */
  | { readonly kind: "fail"; readonly failure: FailureKind }
  | { readonly kind: "unserved"; readonly failure: FailureKind }
  | { readonly kind: "redirect"; readonly path: string };

const ok: TargetResult = { kind: "ok" };
const invalidTarget: TargetResult = { kind: "fail", failure: "invalid-target" };
const unknownMethod: TargetResult = { kind: "fail", failure: "malformed-request" };
const absoluteTarget: TargetResult = { kind: "unserved", failure: "absolute-target" };
const strangePath: TargetResult = { kind: "fail", failure: "path-normalization" };
const slash = 0x2f;

/** Those that Envoy's parser takes where `allow_custom_methods` is off. */
const knownMethods: ReadonlySet<string> = new Set(
  (
    "GET POST HEAD PUT DELETE OPTIONS PATCH CONNECT TRACE ACL BIND CHECKOUT COPY LINK LOCK MERGE " +
    "MKACTIVITY MKCALENDAR MKCOL MOVE MSEARCH NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT SEARCH " +
    "SOURCE SUBSCRIBE UNBIND UNLINK UNLOCK UNSUBSCRIBE"
  ).split(" "),
);

export function settleTarget(
  request: HttpRequest,
  head: Http1Head,
  settings: HttpSettings,
): TargetResult {
  const start = head.methodEnd + 1;
  const { bytes, targetEnd } = head;
  // HTTP/2 knows no list: Envoy's readers of it take any token.
  const takesAny = head.isHttp2 || settings.allowsCustomMethods;
  if (!takesAny && !knownMethods.has(request.method)) return unknownMethod;
  if (request.method === "CONNECT") {
    const isValid = isAuthority(bytes, start, targetEnd) && hasPort(head, start, targetEnd);
    if (!isValid || head.bodyKind !== "none") return invalidTarget;
    request.authority = head.text(start, targetEnd);
    request.path = "";
  } else if (bytes[start] === slash) {
    request.takePath(head);
    if (head.isHttp2 && !isPlainTarget(head)) return strangePath;
  } else if (targetEnd - start === 1 && bytes[start] === 0x2a) {
    if (request.method !== "OPTIONS") return invalidTarget;
    request.path = "*";
  } else if (!readAbsolute(request, head)) {
    return invalidTarget;
  } else if (!settings.allowsAbsoluteUrl) {
    return absoluteTarget;
  }
  head.dropId(known.host);
  if (request.authority === "" && !setDefaultHost(request, settings)) {
    return { kind: "fail", failure: "host-missing" };
  }
  if (settings.stripPort !== "no" && request.method !== "CONNECT") {
    request.authority = withoutPort(request, settings);
  }
  if (settings.stripsTrailingDot) request.authority = request.authority.replace(/\.(?=:|$)/, "");
  return settlePath(request, settings);
}

/** Visible ASCII without `#`: what HTTP/1.1's reader lets pass. */
function isPlainTarget({ bytes, methodEnd, targetEnd }: Http1Head): boolean {
  for (let at = methodEnd + 1; at < targetEnd; at++) {
    if (targetTable[bytes[at] ?? 0] !== 1) return false;
  }
  return true;
}

function hasPort(head: Http1Head, start: number, end: number): boolean {
  const colon = head.bytes.lastIndexOf(0x3a, end - 1);
  return colon > start && colon < end - 1 && head.bytes[end - 1] !== 0x5d;
}

/** `http://authority/path`: the authority replaces Host, whatever Host said (RFC 9112 section 3.2.2). */
function readAbsolute(request: HttpRequest, head: Http1Head): boolean {
  const target = head.text(head.methodEnd + 1, head.targetEnd);
  const match = /^https?:\/\/([^/?]+)(.*)$/i.exec(target);
  const authority = match?.[1] ?? "";
  const rest = match?.[2] ?? "";
  const bytes = Buffer.from(authority, "latin1");
  if (match === null || !isAuthority(bytes, 0, bytes.length)) return false;
  request.authority = authority;
  request.path = rest.startsWith("/") ? rest : `/${rest}`;
  return true;
}

function setDefaultHost(request: HttpRequest, settings: HttpSettings): boolean {
  if (settings.defaultHostForHttp10 === "") return false;
  request.authority = settings.defaultHostForHttp10;
  return true;
}

function withoutPort(request: HttpRequest, settings: HttpSettings): string {
  const { authority } = request;
  const match = /^(.*):(\d+)$/.exec(authority);
  const host = match?.[1];
  if (host === undefined) return authority;
  if (settings.stripPort === "any") return host;
  return Number(match?.[2]) === request.connection.destinationPort ? host : authority;
}

function settlePath(request: HttpRequest, settings: HttpSettings): TargetResult {
  const { paths } = settings;
  const isTouched = paths.normalize || paths.mergeSlashes || paths.escapedSlashes !== "keep";
  if (!isTouched || isPlainPath(request.path) || !request.path.startsWith("/")) return ok;
  const result = normalizePath(request.path, paths);
  switch (result.kind) {
    case "reject":
      return { kind: "fail", failure: "path-normalization" };
    case "redirect":
      return result;
    case "path":
      request.path = result.path;
      return ok;
  }
}

/** Of a request that asks to switch to a protocol without a name: nobody can let it pass, as in Envoy. */
const nameless = " ";

/**
 * The protocol that a request asks to switch to, in lower case; empty when it asks for none that
 * could pass, or carries a body. The field is taken from the head unless it counts.
 */
export function takeUpgrade(method: string, head: Http1Head): string {
  if (method === "CONNECT") return "connect";
  if (head.hasUpgrade && head.bodyKind === "none") {
    const protocol = head.valueAt(head.findId(known.upgrade)).toLowerCase();
    // A stream of HTTP/2 that asks by CONNECT is never a request instead: its client would take an answer for consent.
    if (head.isHttp2 || (protocol !== "h2c" && !protocol.includes(","))) {
      return protocol === "" ? nameless : protocol;
    }
  }
  head.dropId(known.upgrade);
  return "";
}
