/**
 * Envoy's `stateful_session` filter: a client stays with the endpoint that answered it first. Where it
 * was stands in a cookie or a header that the client brings back.
 */
import {
  honouredCookieSession,
  honouredHeaderSession,
  honouredStatefulSession,
} from "../config/honoured-http-filters.ts";
import { honoured } from "../config/honoured.ts";
import type { Clock } from "../../base/clock.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import {
  StatefulSession,
  StatefulSessionPerRoute,
} from "../../wire/gen/ts/envoy/extensions/filters/http/stateful_session/v3/stateful_session.ts";
import { CookieBasedSessionState } from "../../wire/gen/ts/envoy/extensions/http/stateful_session/cookie/v3/cookie.ts";
import { HeaderBasedSessionState } from "../../wire/gen/ts/envoy/extensions/http/stateful_session/header/v3/header.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { cookieValue } from "../engine/request-text.ts";
import { lowerAscii } from "../engine/text-test.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";
import type { MessageHeaders } from "./message-headers.ts";
import { readSessionCookie, writeSessionCookie } from "./session-cookie.ts";

/** Where the address of an endpoint is kept between requests. */
interface SessionStore {
  /** Undefined where the client brings none, or none that is good. */
  read(request: FilterStream["request"], nowMs: number): string | undefined;
  /** Whether this request has a session at all. */
  covers(path: string): boolean;
  write(address: string, headers: MessageHeaders, nowMs: number): void;
}

interface Session {
  readonly store: SessionStore;
  readonly isStrict: boolean;
}

export class StatefulSessionOverride {
  /** Undefined: the route has no sessions. */
  readonly session: Session | undefined;

  constructor(session: Session | undefined) {
    this.session = session;
  }
}

export function compileStatefulSessionOverride(
  bytes: Uint8Array,
  path: string,
): StatefulSessionOverride {
  const { disabled, statefulSession } = StatefulSessionPerRoute.decode(bytes);
  if (disabled === true) return new StatefulSessionOverride(undefined);
  if (statefulSession === undefined) return refuse(path, "says nothing");
  return new StatefulSessionOverride(compileSession(statefulSession, `${path}.stateful_session`));
}

const prefix = "type.googleapis.com/envoy.extensions.http.stateful_session.";

function compileSession(config: StatefulSession, path: string): Session | undefined {
  const { sessionState, strict } = honoured(config, honouredStatefulSession, path);
  const typed = sessionState?.typedConfig;
  // Allowed where routes alone have sessions.
  if (typed === undefined) return undefined;
  const place = `${path}.session_state.typed_config`;
  if (typed.typeUrl === `${prefix}cookie.v3.CookieBasedSessionState`) {
    return { store: compileCookie(typed.value, place), isStrict: strict };
  }
  if (typed.typeUrl === `${prefix}header.v3.HeaderBasedSessionState`) {
    return { store: compileHeader(typed.value, place), isStrict: strict };
  }
  return refuse(place, `'${typed.typeUrl}' is not supported`);
}

function compileCookie(bytes: Uint8Array, path: string): SessionStore {
  const { cookie } = honoured(CookieBasedSessionState.decode(bytes), honouredCookieSession, path);
  if (cookie === undefined || cookie.name === "")
    return refuse(`${path}.cookie.name`, "is required");
  const { name, path: scope } = cookie;
  const ttlMs = durationMs(cookie.ttl) ?? 0;
  const suffix = [
    ttlMs >= 1000 ? `; Max-Age=${Math.floor(ttlMs / 1000)}` : "",
    scope === "" ? "" : `; Path=${scope}`,
    ...cookie.attributes.map(
      (each) => `; ${each.name}${each.value === "" ? "" : `=${each.value}`}`,
    ),
    "; HttpOnly",
  ].join("");
  return {
    covers: (text) => isWithin(text, scope),
    read(request, nowMs) {
      const value = cookieValue(request, name);
      return value === undefined ? undefined : readSessionCookie(value, nowMs);
    },
    write(address, headers, nowMs) {
      const expiresMs = ttlMs === 0 ? undefined : nowMs + ttlMs;
      headers.add("set-cookie", `${name}="${writeSessionCookie(address, expiresMs)}"${suffix}`);
    },
  };
}

/** As browsers decide whether to send a cookie. */
function isWithin(path: string, scope: string): boolean {
  if (scope === "" || scope === "/") return true;
  if (!path.startsWith(scope)) return false;
  const next = path[scope.length];
  return scope.endsWith("/") || next === undefined || next === "/" || next === "?" || next === "#";
}

function compileHeader(bytes: Uint8Array, path: string): SessionStore {
  const config = honoured(HeaderBasedSessionState.decode(bytes), honouredHeaderSession, path);
  const name = lowerAscii(config.name);
  if (!/^[!#$%&'*+\-.^_`|~0-9a-z]+$/.test(name)) refuse(`${path}.name`, "is no header name");
  return {
    covers: () => true,
    read(request) {
      const value = request.header(name);
      return value === undefined ? undefined : Buffer.from(value, "base64").toString("latin1");
    },
    write(address, headers) {
      headers.set(name, Buffer.from(address).toString("base64"));
    },
  };
}

interface OpenSession {
  readonly session: Session;
  readonly asked: string | undefined;
}

export function createStatefulSessionFilter(
  bytes: Uint8Array,
  place: { readonly name: string; readonly path: string; readonly clock: Clock },
): HttpFilter {
  const own = compileSession(StatefulSession.decode(bytes), place.path);
  const open = new WeakMap<FilterStream, OpenSession>();
  return {
    name: place.name,
    onRequest(stream: FilterStream): FilterVerdict {
      const override = stream.override(place.name);
      const session = override instanceof StatefulSessionOverride ? override.session : own;
      const { request } = stream;
      if (session === undefined || !session.store.covers(request.path)) return "continue";
      const asked = session.store.read(request, place.clock.nowMs());
      open.set(stream, { session, asked });
      if (asked !== undefined) request.endpoint = { host: asked, isStrict: session.isStrict };
      return "continue";
    },
    onResponse(stream: FilterStream): void {
      const found = open.get(stream);
      const host = stream.record.upstreamHost;
      if (found === undefined || host === undefined) return;
      const address = formatSocketAddress(host);
      if (address === found.asked) return;
      found.session.store.write(address, stream.responseHeaders, place.clock.nowMs());
    },
    onStreamEnd(stream: FilterStream): void {
      open.delete(stream);
    },
  };
}
