/**
 * Who may ask the console. Any local user can connect to a loopback port, and logs and configuration
 * dumps hold what applications put there, so every answer but the page's own files needs the mesh's
 * token. It travels in a header that no browser adds by itself: there is no cookie, which other ports
 * of the same host (the gateway, and so every application behind it) would be sent too.
 *
 * A page elsewhere may not read the console through a name it points here either (DNS rebinding), and
 * the console's own page runs nothing but its own files. The Unix socket belongs to its owner and is
 * asked none of this.
 */
import { createHash, timingSafeEqual } from "node:crypto";

export interface RequestOrigin {
  readonly host: string | undefined;
  readonly origin: string | undefined;
  /** `sec-fetch-site`, where the browser sends it. */
  readonly fetchSite: string | undefined;
}

export const responseHeaders: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; " +
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
};

const loopbackNames: ReadonlySet<string> = new Set(["localhost", "127.0.0.1", "[::1]"]);

/** Undefined when the request may be answered, else why not. */
export function refuseOrigin(
  request: RequestOrigin,
  allowedHosts: ReadonlySet<string>,
): string | undefined {
  const name = hostName(request.host);
  if (name === undefined) return "the request names no host";
  if (!loopbackNames.has(name) && !allowedHosts.has(name)) {
    return `the console is not served as ${name}; open it as localhost`;
  }
  const { origin, fetchSite } = request;
  if (origin !== undefined && origin !== `http://${request.host ?? ""}`) {
    return "the request comes from another site";
  }
  if (fetchSite === "cross-site") return "the request comes from another site";
  return undefined;
}

export interface TokenGuard {
  /** Judges a request's `authorization` header. */
  accepts(authorization: string | undefined): boolean;
}

const tokenLengthMin = 16;

/** `Bearer <token>` and nothing else. A token that could be guessed opens nothing. */
export function createTokenGuard(token: string): TokenGuard {
  const expected = digest(token);
  return {
    accepts(authorization) {
      const given = /^bearer +(\S+) *$/i.exec(authorization ?? "")?.[1];
      if (given === undefined || token.length < tokenLengthMin) return false;
      return timingSafeEqual(digest(given), expected);
    },
  };
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** The host without its port, in lower case. */
function hostName(host: string | undefined): string | undefined {
  return host === undefined
    ? undefined
    : /^(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?$/.exec(host.toLowerCase())?.[1];
}
