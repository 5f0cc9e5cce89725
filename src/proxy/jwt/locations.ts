/** Where in a request tokens stand: headers, query parameters, cookies. Each place knows its issuers. */
import type { JwtProvider } from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { cookieOf } from "../engine/request-text.ts";

/** What is read, and changed, of a request. Header names are in lower case. */
export interface TokenRequest {
  readonly path: string;
  /** Each line's value. */
  headerValues(name: string): readonly string[];
}

export interface FoundToken {
  readonly text: string;
  readonly place: TokenPlace;
}

export type TokenPlace =
  | { readonly kind: "header"; readonly name: string; readonly issuers: Issuers }
  | { readonly kind: "parameter"; readonly name: string; readonly issuers: Issuers }
  | { readonly kind: "cookie"; readonly name: string; readonly issuers: Issuers };

/** Of the providers that look there; an empty name stands for all. */
export type Issuers = ReadonlySet<string>;

export function isIssuerOf({ issuers }: TokenPlace, issuer: string): boolean {
  return issuers.has("") || issuers.has(issuer);
}

/** Headers and parameters that a token was taken out of, while a request is looked at. */
export type TakenPlaces = ReadonlySet<`${TokenPlace["kind"]} ${string}`>;

export class TokenLocations {
  readonly #headers = new Map<string, { name: string; prefix: string; issuers: Set<string> }>();
  readonly #parameters = new Map<string, Set<string>>();
  readonly #cookies = new Map<string, Set<string>>();

  /** In the order in which Envoy looks: by name. */
  constructor(providers: readonly JwtProvider[]) {
    for (const provider of providers) this.#add(provider);
  }

  #add({ issuer, fromHeaders, fromParams, fromCookies }: JwtProvider): void {
    for (const { name, valuePrefix } of fromHeaders) this.#addHeader(name, valuePrefix, issuer);
    for (const name of fromParams) addTo(this.#parameters, name, issuer);
    for (const name of fromCookies) addTo(this.#cookies, name, issuer);
    if (fromHeaders.length + fromParams.length + fromCookies.length > 0) return;
    this.#addHeader("authorization", "Bearer ", issuer);
    addTo(this.#parameters, "access_token", issuer);
  }

  #addHeader(name: string, prefix: string, issuer: string): void {
    const lower = name.toLowerCase();
    const key = lower + prefix;
    const place = this.#headers.get(key) ?? { name: lower, prefix, issuers: new Set() };
    place.issuers.add(issuer);
    this.#headers.set(key, place);
  }

  /** All tokens, also what only looks like one: each must hold. */
  find(request: TokenRequest, taken: TakenPlaces): readonly FoundToken[] {
    const found: FoundToken[] = [];
    for (const [, { name, prefix, issuers }] of sorted(this.#headers)) {
      if (taken.has(`header ${name}`)) continue;
      for (const value of request.headerValues(name)) {
        const text = behindPrefix(value, prefix);
        if (text !== undefined) found.push({ text, place: { kind: "header", name, issuers } });
      }
    }
    if (this.#parameters.size > 0 && request.path.includes("?")) {
      for (const [name, issuers] of sorted(this.#parameters)) {
        if (taken.has(`parameter ${name}`)) continue;
        const text = parameterOf(request.path, name);
        if (text !== undefined) found.push({ text, place: { kind: "parameter", name, issuers } });
      }
    }
    if (this.#cookies.size === 0) return found;
    const lines = request.headerValues("cookie");
    for (const [name, issuers] of sorted(this.#cookies)) {
      const text = firstCookie(lines, name);
      if (text !== undefined) found.push({ text, place: { kind: "cookie", name, issuers } });
    }
    return found;
  }
}

function addTo(places: Map<string, Set<string>>, name: string, issuer: string): void {
  const issuers = places.get(name) ?? new Set();
  issuers.add(issuer);
  places.set(name, issuers);
}

function sorted<T>(places: ReadonlyMap<string, T>): readonly (readonly [string, T])[] {
  return [...places].toSorted(([a], [b]) => (a < b ? -1 : 1));
}

/**
 * As Envoy: the prefix may stand anywhere in the value, and what no token has in it is skipped after
 * it. Undefined where the prefix is missing: the header is somebody else's (`Basic …`).
 */
function behindPrefix(value: string, prefix: string): string | undefined {
  if (prefix === "") return value;
  const at = value.indexOf(prefix);
  if (at < 0) return undefined;
  const start = value.slice(at + prefix.length).search(/[A-Za-z0-9\-_.]/);
  return start < 0 ? value : value.slice(at + prefix.length + start);
}

/** The first of that name, decoded. */
function parameterOf(path: string, name: string): string | undefined {
  for (const pair of pairsOf(path)) {
    if (decode(keyOf(pair)) === name) return decode(pair.slice(keyOf(pair).length + 1));
  }
  return undefined;
}

/** The path without that parameter; the others stay as they were written. */
export function withoutParameter(path: string, name: string): string {
  const start = path.indexOf("?");
  if (start < 0) return path;
  const kept = pairsOf(path).filter((pair) => decode(keyOf(pair)) !== name);
  const fragment = /#.*$/.exec(path)?.[0] ?? "";
  const query = kept.length === 0 ? "" : `?${kept.join("&")}`;
  return `${path.slice(0, start)}${query}${fragment}`;
}

function pairsOf(path: string): readonly string[] {
  const [before = ""] = path.split("#", 1);
  const start = before.indexOf("?");
  return start < 0 ? [] : before.slice(start + 1).split("&");
}

function keyOf(pair: string): string {
  const equals = pair.indexOf("=");
  return equals < 0 ? pair : pair.slice(0, equals);
}

/** Percent-encoding alone; what is none stays. */
function decode(text: string): string {
  return text.replaceAll(/%[0-9A-Fa-f]{2}/g, (code) =>
    String.fromCharCode(Number.parseInt(code.slice(1), 16)),
  );
}

function firstCookie(lines: readonly string[], name: string): string | undefined {
  for (const line of lines) {
    const text = cookieOf(line, name);
    if (text !== undefined) return text;
  }
  return undefined;
}
