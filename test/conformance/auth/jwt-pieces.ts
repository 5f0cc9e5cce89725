/** Tokens, and what they are shown with; pieces of scenarios. */
import { encodePart, signToken } from "../../support/tokens.ts";
import type { Door } from "../proxy/scenario-proxies.ts";
import { issuer, keys, remoteIssuer } from "./jwt-bootstrap.ts";

export interface JwtScenario {
  readonly name: string;
  readonly door?: Door;
  /** What the client sends; made late where the time counts. */
  readonly text: string | (() => string);
  /** How Heddle's access log begins. */
  readonly logs: string;
}

export const nowS: number = Math.floor(Date.now() / 1000);
export const claims: { iss: string; sub: string; aud: string; exp: number } = {
  iss: issuer,
  sub: "user-1",
  aud: "shop",
  exp: nowS + 3000,
};

export const bounded: string = "https://bounded.test";
export const secondsAgo = (seconds: number): number => Math.floor(Date.now() / 1000) - seconds;

/** Without the last bytes of its signature. */
export function shortened(token: string): string {
  const at = token.lastIndexOf(".") + 1;
  const signature = Buffer.from(token.slice(at), "base64url");
  return token.slice(0, at) + signature.subarray(0, -4).toString("base64url");
}

/** The same bytes, written another way: bits that mean nothing are set. */
export function rewritten(token: string): string {
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return token.slice(0, -1) + (last[last.indexOf(token.slice(-1)) + 1] ?? "");
}

export function get(path: string, ...fields: readonly string[]): string {
  return `${["GET " + path + " HTTP/1.1", "Host: shop.test", ...fields].join("\r\n")}\r\n\r\n`;
}

export const bearer = (token: string): string => `Authorization: Bearer ${token}`;
export const main = (...fields: readonly string[]): string => get("/main", ...fields);
export const good: string = signToken(keys.rsa, "RS256", claims);
const parts = good.split(".");
export const goodHeader: string = parts[0] ?? "";
export const goodPayload: string = parts[1] ?? "";
export const goodSignature: string = parts[2] ?? "";
export const withClaims = (more: object): string =>
  signToken(keys.rsa, "RS256", { ...claims, ...more });
export const withPayload = (json: string): string => signToken(keys.rsa, "RS256", json);
export const withHeader = (header: object | string): string =>
  signToken(keys.rsa, "RS256", claims, header as never);
export const fromRemote: string = signToken(keys.remote, "ES256", { iss: remoteIssuer, sub: "r" });

export const denied = (sentence: string): string =>
  `401 - jwt_authn_access_denied{${sentence.replaceAll(" ", "_")}}`;
export const missing: string = denied("Jwt is missing");
export const fails: string = denied("Jwt verification fails");
export const noKey: string = denied("Jwks doesn't have key to match kid or alg from Jwt");
export const passes: string = "200 - via_upstream";
export const forbidden: string = "403 - jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}";

/** Of one that a symmetric algorithm would verify with a public key as its secret. */
export const confused: string = `${encodePart({ alg: "HS256", kid: "p" })}.${goodPayload}.${goodSignature}`;
export const unsigned: string = `${encodePart({ alg: "none" })}.${goodPayload}.`;
export const unsignedLong: string = `${encodePart({ alg: "none" })}.${goodPayload}.${goodSignature}`;
