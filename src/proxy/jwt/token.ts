/**
 * A JSON Web Token (RFC 7519) in its compact form, taken apart but not believed: whether its
 * signature holds is `keys.ts`'s business. Bounded, and strict where readers differ (canonical
 * base64url without padding, no name twice), so that whoever is behind us reads the same token.
 */
import type { JwtFailure } from "./failure.ts";
import { type JsonObject, parseJsonObject } from "./strict-json.ts";

export interface Token {
  readonly algorithm: string;
  /** Empty: it names none. */
  readonly keyId: string;
  readonly header: JsonObject;
  readonly payload: JsonObject;
  /** Base64url, as it came. */
  readonly payloadText: string;
  /** What the signature is of. */
  readonly signed: string;
  readonly signature: Buffer;
  /** Empty where there is none. */
  readonly issuer: string;
  readonly subject: string;
  readonly audiences: readonly string[];
  /** Seconds since the epoch; 0 where there is none. */
  readonly issuedAt: number;
  readonly notBefore: number;
  readonly expires: number;
}

/** Heads of requests are smaller: no configuration of theirs lets more through. */
const tokenBytesMax = 64 * 1024;

/** Those that Envoy knows; no key of ours verifies the symmetric ones. `none` is no algorithm. */
const algorithms: ReadonlySet<string> = new Set(
  ["RS", "PS", "ES", "HS"].flatMap((family) => [256, 384, 512].map((bits) => `${family}${bits}`)),
).union(new Set(["EdDSA"]));

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function parseToken(text: string): Token | JwtFailure {
  const parts = text.split(".", 4);
  const [headerText = "", payloadText = "", signatureText = ""] = parts;
  if (
    parts.length !== 3 ||
    text.length > tokenBytesMax ||
    parts.some((part) => part.length === 0)
  ) {
    return "bad-format";
  }
  const header = readPart(headerText, "header-base64", "header-json");
  if (typeof header === "string") return header;
  const algorithm = header["alg"];
  if (typeof algorithm !== "string") return "algorithm-missing";
  if (!algorithms.has(algorithm)) return "algorithm-unknown";
  const keyId = textOf(header, "kid");
  if (keyId === undefined) return "key-id-type";
  const payload = readPart(payloadText, "payload-base64", "payload-json");
  if (typeof payload === "string") return payload;
  const claims = readClaims(payload);
  if (typeof claims === "string") return claims;
  const signature = decodeBase64Url(signatureText);
  if (signature === undefined) return "signature-base64";
  // Extensions that must be understood are not understood (RFC 7515 section 4.1.11).
  if (Object.hasOwn(header, "crit")) return "verification";
  const signed = `${headerText}.${payloadText}`;
  return { algorithm, keyId, header, payload, payloadText, signed, signature, ...claims };
}

type Claims = Pick<
  Token,
  "issuer" | "subject" | "audiences" | "issuedAt" | "notBefore" | "expires"
>;

function readClaims(payload: JsonObject): Claims | JwtFailure {
  const issuer = textOf(payload, "iss");
  if (issuer === undefined) return "issuer-type";
  const subject = textOf(payload, "sub");
  if (subject === undefined) return "subject-type";
  const issuedAt = secondsOf(payload, "iat");
  if (issuedAt === undefined) return "issued-at-type";
  if (issuedAt < 0) return "issued-at-range";
  const notBefore = secondsOf(payload, "nbf");
  if (notBefore === undefined) return "not-before-type";
  if (notBefore < 0) return "not-before-range";
  const expires = secondsOf(payload, "exp");
  if (expires === undefined) return "expires-type";
  if (expires < 0) return "expires-range";
  if (textOf(payload, "jti") === undefined) return "token-id-type";
  const audiences = textsOf(payload, "aud");
  if (audiences === undefined) return "audience-type";
  return { issuer, subject, audiences, issuedAt, notBefore, expires };
}

function readPart<Coding extends JwtFailure, Json extends JwtFailure>(
  text: string,
  ...[coding, json]: [coding: Coding, json: Json]
): JsonObject | Coding | Json {
  const bytes = decodeBase64Url(text);
  if (bytes === undefined) return coding;
  try {
    return parseJsonObject(utf8.decode(bytes)) ?? json;
  } catch {
    return json;
  }
}

/** Undefined unless `text` is the one way to write those bytes. */
export function decodeBase64Url(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, "base64url");
  return bytes.toString("base64url") === text ? bytes : undefined;
}

function own(json: JsonObject, name: string): unknown {
  return Object.hasOwn(json, name) ? json[name] : undefined;
}

/** Empty where it is missing; undefined where it is something else. */
function textOf(json: JsonObject, name: string): string | undefined {
  const value = own(json, name);
  if (value === undefined) return "";
  return typeof value === "string" ? value : undefined;
}

function textsOf(json: JsonObject, name: string): readonly string[] | undefined {
  const value = own(json, name);
  if (value === undefined) return [];
  if (typeof value === "string") return [value];
  if (!Array.isArray(value)) return undefined;
  const texts = value.filter((one) => typeof one === "string");
  return texts.length === value.length ? texts : undefined;
}

const secondsMax = 2 ** 63;

/** 0 where it is missing, -1 where it is out of range, undefined where it is something else. */
function secondsOf(json: JsonObject, name: string): number | undefined {
  const value = own(json, name);
  if (value === undefined) return 0;
  if (typeof value !== "number") return undefined;
  return value >= 0 && value < secondsMax ? Math.trunc(value) : -1;
}
