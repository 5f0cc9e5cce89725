/** What tokens are shown, to whom, and what is to come of it. */
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

const nowS = Math.floor(Date.now() / 1000);
const claims = { iss: issuer, sub: "user-1", aud: "shop", exp: nowS + 3000 };

const bounded = "https://bounded.test";
const secondsAgo = (seconds: number): number => Math.floor(Date.now() / 1000) - seconds;

/** Without the last bytes of its signature. */
function shortened(token: string): string {
  const at = token.lastIndexOf(".") + 1;
  const signature = Buffer.from(token.slice(at), "base64url");
  return token.slice(0, at) + signature.subarray(0, -4).toString("base64url");
}

/** The same bytes, written another way: bits that mean nothing are set. */
function rewritten(token: string): string {
  const last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  return token.slice(0, -1) + (last[last.indexOf(token.slice(-1)) + 1] ?? "");
}

function get(path: string, ...fields: readonly string[]): string {
  return `${["GET " + path + " HTTP/1.1", "Host: shop.test", ...fields].join("\r\n")}\r\n\r\n`;
}

const bearer = (token: string): string => `Authorization: Bearer ${token}`;
const main = (...fields: readonly string[]): string => get("/main", ...fields);
const good = signToken(keys.rsa, "RS256", claims);
const [goodHeader = "", goodPayload = "", goodSignature = ""] = good.split(".");
const withClaims = (more: object): string => signToken(keys.rsa, "RS256", { ...claims, ...more });
const withPayload = (json: string): string => signToken(keys.rsa, "RS256", json);
const withHeader = (header: object | string): string =>
  signToken(keys.rsa, "RS256", claims, header as never);
const fromRemote = signToken(keys.remote, "ES256", { iss: remoteIssuer, sub: "r" });

const denied = (sentence: string): string =>
  `401 - jwt_authn_access_denied{${sentence.replaceAll(" ", "_")}}`;
const missing = denied("Jwt is missing");
const fails = denied("Jwt verification fails");
const noKey = denied("Jwks doesn't have key to match kid or alg from Jwt");
const passes = "200 - via_upstream";
const forbidden = "403 - jwt_authn_access_denied{Audiences_in_Jwt_are_not_allowed}";

/** Of one that a symmetric algorithm would verify with a public key as its secret. */
const confused = `${encodePart({ alg: "HS256", kid: "p" })}.${goodPayload}.${goodSignature}`;
const unsigned = `${encodePart({ alg: "none" })}.${goodPayload}.`;
const unsignedLong = `${encodePart({ alg: "none" })}.${goodPayload}.${goodSignature}`;

export const jwtScenarios: readonly JwtScenario[] = [
  { name: "asks nothing where no rule matches", text: get("/elsewhere"), logs: passes },
  { name: "asks nothing where a rule requires nothing", text: get("/open"), logs: passes },
  { name: "refuses a request without a token", text: main(), logs: missing },
  {
    name: "names the path, but not all of it",
    text: main().replace("/main", `/main/${"a".repeat(300)}?x=1`),
    logs: missing,
  },
  {
    name: "takes Basic credentials for no token",
    text: main("Authorization: Basic YTpi"),
    logs: missing,
  },
  { name: "passes a token", text: main(bearer(good)), logs: `${passes} user-1` },
  { name: "passes a token again", text: main(bearer(good)), logs: `${passes} user-1` },
  { name: "says it briefly where it shall", door: "edge", text: main(), logs: missing },
  {
    name: "says it briefly for a bad token, too",
    door: "edge",
    text: main(bearer("a.b.c")),
    logs: "401",
  },
  {
    name: "speaks gRPC to gRPC",
    text: `POST /main HTTP/1.1\r\nHost: shop.test\r\nContent-Type: application/grpc\r\nContent-Length: 0\r\n\r\n`,
    logs: "200 -",
  },
  {
    name: "lets preflights pass",
    text: "OPTIONS /main HTTP/1.1\r\nHost: shop.test\r\nOrigin: https://a\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    logs: passes,
  },
  {
    name: "knows an OPTIONS that is no preflight",
    text: "OPTIONS /main HTTP/1.1\r\nHost: shop.test\r\nOrigin: https://a\r\n\r\n",
    logs: missing,
  },

  // Algorithms and keys.
  ...(
    [
      ["RS384", keys.anyRsa],
      ["RS512", keys.anyRsa],
      ["PS256", keys.anyRsa],
      ["PS384", keys.anyRsa],
      ["PS512", keys.anyRsa],
      ["ES256", keys.p256],
      ["ES384", keys.p384],
      ["ES512", keys.p521],
      ["EdDSA", keys.ed25519],
    ] as const
  ).map(([algorithm, key]) => ({
    name: `verifies ${algorithm}`,
    text: main(bearer(signToken(key, algorithm, claims))),
    logs: `${passes} user-1`,
  })),
  {
    name: "tries all keys without a key id",
    text: main(bearer(signToken(keys.p384, "ES384", claims, { alg: "ES384" }))),
    logs: passes,
  },
  {
    name: "refuses an unknown key id",
    text: main(bearer(withHeader({ alg: "RS256", kid: "other" }))),
    logs: noKey,
  },
  {
    name: "refuses an algorithm that the key is not for",
    text: main(bearer(signToken(keys.rsa, "RS512", claims))),
    logs: noKey,
  },
  {
    name: "refuses a key of another type",
    text: main(bearer(signToken(keys.p256, "ES256", claims, { alg: "ES256", kid: "p" }))),
    logs: "401 -",
  },
  {
    name: "refuses a stranger's signature",
    text: main(bearer(signToken(keys.stranger, "RS256", claims))),
    logs: fails,
  },
  {
    name: "refuses changed claims",
    text: main(bearer(`${goodHeader}.${encodePart({ ...claims, sub: "root" })}.${goodSignature}`)),
    logs: fails,
  },
  {
    name: "refuses a changed header",
    text: main(bearer(`${encodePart({ alg: "RS256" })}.${goodPayload}.${goodSignature}`)),
    logs: fails,
  },
  { name: "refuses a token without signature", text: main(bearer(unsigned)), logs: "401 -" },
  { name: "refuses the algorithm none", text: main(bearer(unsignedLong)), logs: "401 -" },
  {
    name: "refuses None as well",
    text: main(bearer(unsignedLong.replace(/^[^.]+/, encodePart({ alg: "None" })))),
    logs: "401 -",
  },
  { name: "refuses a public key as a secret", text: main(bearer(confused)), logs: "401 -" },
  {
    name: "refuses an Ed25519 signature that is too short",
    text: main(bearer(shortened(signToken(keys.ed25519, "EdDSA", claims)))),
    logs: denied("Jwt ED25519 signature is wrong length"),
  },
  {
    name: "refuses an ECDSA signature in DER",
    text: main(
      bearer(
        `${signToken(keys.p256, "ES256", claims).split(".").slice(0, 2).join(".")}.${Buffer.alloc(71, 48).toString("base64url")}`,
      ),
    ),
    logs: fails,
  },
  {
    name: "refuses an ECDSA signature of zeros",
    text: main(
      bearer(
        `${signToken(keys.p256, "ES256", claims).split(".").slice(0, 2).join(".")}.${Buffer.alloc(64).toString("base64url")}`,
      ),
    ),
    logs: fails,
  },

  // Form.
  { name: "refuses what is no token", text: main(bearer("abc")), logs: "401 -" },
  { name: "refuses two parts", text: main(bearer("a.b")), logs: "401 -" },
  { name: "refuses four parts", text: main(bearer(`${good}.x`)), logs: "401 -" },
  {
    name: "refuses an empty part",
    text: main(bearer(`${goodHeader}..${goodSignature}`)),
    logs: "401 -",
  },
  {
    name: "refuses a header that is no base64",
    text: main(bearer(`%%%.${goodPayload}.${goodSignature}`)),
    logs: "401 -",
  },
  {
    name: "refuses a header that is no JSON",
    text: main(bearer(`${encodePart("{")}.${goodPayload}.x`)),
    logs: "401 -",
  },
  {
    name: "refuses a header that is a list",
    text: main(bearer(`${encodePart("[]")}.${goodPayload}.x`)),
    logs: "401 -",
  },
  {
    name: "refuses a header without alg",
    text: main(bearer(withHeader({ kid: "r" }))),
    logs: "401 -",
  },
  {
    name: "refuses an alg that is a number",
    text: main(bearer(withHeader({ alg: 256 }))),
    logs: "401 -",
  },
  {
    name: "refuses an unheard algorithm",
    text: main(bearer(withHeader({ alg: "RS1" }))),
    logs: "401 -",
  },
  {
    name: "refuses a key id that is a number",
    text: main(bearer(withHeader({ alg: "RS256", kid: 1 }))),
    logs: "401 -",
  },
  {
    name: "refuses a payload that is no base64",
    text: main(bearer(`${goodHeader}.%%.${goodSignature}`)),
    logs: "401 -",
  },
  {
    name: "refuses a payload that is no JSON",
    text: main(bearer(withPayload("{]"))),
    logs: "401 -",
  },
  {
    name: "refuses a payload that is a text",
    text: main(bearer(withPayload('"x"'))),
    logs: "401 -",
  },
  {
    name: "refuses a signature that is no base64",
    text: main(bearer(`${goodHeader}.${goodPayload}.%%`)),
    logs: "401 -",
  },
  {
    name: "refuses a signature that is written in another way",
    text: main(bearer(rewritten(good))),
    logs: denied("Jwt signature is an invalid Base64url encoded"),
  },
  {
    name: "refuses padding",
    text: main(bearer(`${good}==`)),
    logs: denied("Jwt signature is an invalid Base64url encoded"),
  },
  {
    name: "refuses extensions that it does not know",
    text: main(bearer(withHeader({ alg: "RS256", kid: "r", crit: ["x"], x: 1 }))),
    logs: fails,
  },
  {
    name: "refuses a claim that stands twice",
    text: main(bearer(withPayload(`{"iss":"${issuer}","aud":"shop","sub":"a","sub":"b"}`))),
    logs: "401 -",
  },
  {
    name: "refuses a claim that stands twice, deep inside",
    text: main(bearer(withPayload(`{"iss":"${issuer}","aud":"shop","a":[{"b":1,"\\u0062":2}]}`))),
    logs: "401 -",
  },
  {
    name: "refuses what is nested without end",
    text: main(
      bearer(
        withPayload(`{"iss":"${issuer}","aud":"shop","a":${"[".repeat(200)}${"]".repeat(200)}}`),
      ),
    ),
    logs: "401 -",
  },
  {
    name: "refuses an issuer that is a number",
    text: main(bearer(withClaims({ iss: 1 }))),
    logs: "401 -",
  },
  {
    name: "refuses a subject that is a list",
    text: main(bearer(withClaims({ sub: ["a"] }))),
    logs: "401 -",
  },
  {
    name: "refuses an id that is a number",
    text: main(bearer(withClaims({ jti: 1 }))),
    logs: "401 -",
  },
  {
    name: "refuses an audience that is a number",
    text: main(bearer(withClaims({ aud: 1 }))),
    logs: "401 -",
  },
  {
    name: "refuses an audience among which is a number",
    text: main(bearer(withClaims({ aud: ["shop", 1] }))),
    logs: "401 -",
  },
  {
    name: "refuses times that are texts",
    text: main(bearer(withClaims({ exp: "soon" }))),
    logs: "401 -",
  },
  { name: "refuses times before time", text: main(bearer(withClaims({ nbf: -1 }))), logs: "401 -" },
  {
    name: "takes a fraction of a second for the whole one",
    text: main(bearer(withClaims({ exp: nowS + 100.5 }))),
    logs: passes,
  },

  // Claims.
  {
    name: "refuses another issuer",
    text: main(bearer(withClaims({ iss: "https://other.test" }))),
    logs: denied("Jwt issuer is not configured"),
  },
  {
    name: "refuses no issuer",
    text: main(bearer(withPayload('{"aud":"shop"}'))),
    logs: denied("Jwt issuer is not configured"),
  },
  {
    name: "refuses what has expired",
    text: main(bearer(withClaims({ exp: nowS - 120 }))),
    logs: denied("Jwt is expired"),
  },
  {
    name: "allows for clocks",
    text: () => main(bearer(withClaims({ exp: secondsAgo(30) }))),
    logs: passes,
  },
  {
    name: "refuses what is not valid yet",
    text: main(bearer(withClaims({ nbf: nowS + 600 }))),
    logs: denied("Jwt not yet valid"),
  },
  {
    name: "passes what does not expire",
    text: main(bearer(withPayload(`{"iss":"${issuer}","aud":"shop"}`))),
    logs: passes,
  },
  {
    name: "refuses another audience",
    text: main(bearer(withClaims({ aud: "other" }))),
    logs: forbidden,
  },
  {
    name: "refuses no audience",
    text: main(bearer(withPayload(`{"iss":"${issuer}"}`))),
    logs: forbidden,
  },
  {
    name: "passes one of many audiences",
    text: main(bearer(withClaims({ aud: ["x", "shop"] }))),
    logs: passes,
  },
  {
    name: "knows an audience as a URL",
    text: main(bearer(withClaims({ aud: "http://shop/" }))),
    logs: passes,
  },
  {
    name: "knows a URL without its scheme",
    text: main(bearer(withClaims({ aud: "other.test" }))),
    logs: passes,
  },
  {
    name: "asks for the audiences of a rule",
    text: get("/audience", bearer(good)),
    logs: forbidden,
  },
  {
    name: "passes the audience of a rule",
    text: get("/audience", bearer(withClaims({ aud: "special" }))),
    logs: passes,
  },
  {
    name: "refuses a subject",
    text: get("/bounded", bearer(withClaims({ iss: bounded, sub: "root" }))),
    logs: fails,
  },
  {
    name: "passes a subject",
    text: get("/bounded", bearer(withClaims({ iss: bounded }))),
    logs: passes,
  },
  {
    name: "refuses to live without end",
    text: get("/bounded", bearer(withPayload(`{"iss":"${bounded}","sub":"user-1"}`))),
    logs: "401 -",
  },
  {
    name: "refuses to live for too long",
    text: get("/bounded", bearer(withClaims({ iss: bounded, exp: nowS + 9000 }))),
    logs: "401 -",
  },
  {
    name: "has its own allowance for clocks",
    text: () => get("/bounded", bearer(withClaims({ iss: bounded, exp: secondsAgo(30) }))),
    logs: denied("Jwt is expired"),
  },

  // What those behind are told.
  {
    name: "tells claims",
    text: main(
      bearer(withClaims({ n: 42, a: { b: "deep" }, list: ["???>>>", 1], scope: "read write" })),
    ),
    logs: `${passes} user-1 ["read","write"] RS256`,
  },
  { name: "tells numbers as C++ does", text: main(bearer(withClaims({ n: 1.5 }))), logs: passes },
  {
    name: "tells truths",
    text: main(bearer(withClaims({ n: true, a: { b: false } }))),
    logs: passes,
  },
  {
    name: "tells letters that are no ASCII",
    text: main(bearer(withClaims({ sub: "jö" }))),
    logs: passes,
  },
  {
    name: "believes no header of a client",
    text: main(bearer(good), "X-Payload: forged", "X-Sub: root", "x-list: a"),
    logs: passes,
  },
  {
    name: "believes no claim whose name objects inherit",
    text: get("/policy/nested", bearer(withClaims({ constructor: { b: 1 } }))),
    logs: "403 -",
  },

  // Places.
  { name: "finds a token in a header", text: get("/places", `X-Token: ${good}`), logs: passes },
  {
    name: "finds a token behind a prefix",
    text: get("/places", `X-Auth: JWT ${good}`),
    logs: passes,
  },
  {
    name: "skips a header without its prefix",
    text: get("/places", `X-Auth: ${good}`),
    logs: missing,
  },
  { name: "finds a token in the query", text: get(`/places?a=1&tok=${good}&b=%20`), logs: passes },
  { name: "finds a token that is the query", text: get(`/places?tok=${good}`), logs: passes },
  {
    name: "finds a token in a cookie",
    text: get("/places", `Cookie: a=1; session=${good}; b=2`),
    logs: passes,
  },
  { name: "finds none in the usual place", text: get("/places", bearer(good)), logs: missing },
  {
    name: "refuses a bad token beside a good one",
    text: get("/places?tok=a.b.c", `X-Token: ${good}`),
    logs: "401 -",
  },
  {
    name: "refuses a good token beside a bad one",
    text: get(`/places?tok=${good}`, "X-Token: a.b.c"),
    logs: "401 -",
  },
  {
    name: "refuses two headers with tokens, one bad",
    text: main(bearer(good), bearer("a.b.c")),
    logs: "401 -",
  },
  { name: "finds a token in access_token", text: get(`/main?access_token=${good}`), logs: passes },
  { name: "refuses an empty token", text: get("/places", "X-Token:"), logs: "401 -" },

  // Requirements.
  { name: "passes any of two, the first", text: get("/any", bearer(good)), logs: passes },
  { name: "passes any of two, the second", text: get("/any", bearer(fromRemote)), logs: passes },
  {
    name: "says what was wrong with any",
    text: get("/any", bearer(withClaims({ exp: 1 }))),
    logs: denied("Jwt is expired"),
  },
  {
    name: "says that none of any is known",
    text: get("/any", bearer(withClaims({ iss: "x" }))),
    logs: denied("Jwt issuer is not configured"),
  },
  { name: "asks any for a token", text: get("/any"), logs: missing },
  { name: "asks for all", text: get("/all", bearer(good)), logs: missing },
  { name: "passes all", text: get("/all", bearer(good), `X-Token: ${good}`), logs: passes },
  { name: "lets pass who has none", text: get("/or-none"), logs: passes },
  {
    name: "refuses who has a bad one",
    text: get("/or-none", bearer(withClaims({ exp: 1 }))),
    logs: denied("Jwt is expired"),
  },
  {
    name: "lets pass who has a bad one where that is allowed",
    text: get("/or-bad", bearer("a.b.c")),
    logs: passes,
  },
  {
    name: "believes a good one where a bad one is allowed",
    text: get("/or-bad", bearer(good)),
    logs: `${passes} user-1`,
  },
  { name: "lets pass no token of anybody", text: get("/missing"), logs: passes },
  {
    name: "refuses a bad token of anybody",
    text: get("/missing", bearer(withClaims({ exp: 1 }))),
    logs: denied("Jwt is expired"),
  },
  { name: "believes a token of anybody", text: get("/missing", bearer(good)), logs: passes },
  { name: "lets pass a bad token of anybody", text: get("/failed", bearer("a.b.c")), logs: passes },
  {
    name: "believes no bad token that it lets pass",
    text: get("/failed", bearer(withClaims({ exp: 1 }))),
    logs: `${passes} - -`,
  },
  { name: "asks what a rule calls by name", text: get("/named"), logs: missing },
  { name: "asks nothing where a route says so", text: get("/main/off"), logs: passes },
  { name: "asks what a route calls by name", text: get("/by-route"), logs: missing },
  { name: "passes what a route calls by name", text: get("/by-route", bearer(good)), logs: passes },
  {
    name: "refuses where a route calls what is not there",
    text: get("/main/other", bearer(good)),
    logs: "403 -",
  },

  {
    name: "finds a route by a claim",
    text: get("/routing", bearer(withClaims({ iss: "https://routing.test", role: "admin" }))),
    logs: "418 - direct_response",
  },
  {
    name: "finds another route without that claim",
    text: get("/routing", bearer(withClaims({ iss: "https://routing.test", role: "user" }))),
    logs: passes,
  },

  // Keys from elsewhere.
  { name: "fetches keys", text: get("/remote", bearer(fromRemote)), logs: passes },
  { name: "fetches keys once", text: get("/remote", bearer(fromRemote)), logs: passes },
  { name: "fetches nothing for who has none", text: get("/remote"), logs: missing },
  {
    name: "keeps a body while it fetches",
    text: `POST /remote HTTP/1.1\r\nHost: shop.test\r\n${bearer(fromRemote)}\r\nContent-Length: 5\r\n\r\nhello`,
    logs: passes,
  },
  {
    name: "refuses where keys cannot be fetched",
    text: get("/gone", bearer(withClaims({ iss: "https://gone.test" }))),
    logs: denied("Jwks remote fetch is failed"),
  },
  {
    name: "refuses where keys are none",
    text: get("/bad", bearer(withClaims({ iss: "https://bad.test" }))),
    logs: denied("Jwks remote fetch is failed"),
  },

  // Policies.
  { name: "admits an issuer", text: get("/policy/issuer", bearer(good)), logs: passes },
  {
    name: "admits no other subject",
    text: get("/policy/issuer", bearer(withClaims({ sub: "root" }))),
    logs: "403 -",
  },
  { name: "admits nobody without a token", text: get("/policy/issuer"), logs: "403 -" },
  {
    name: "admits nobody with a bad token",
    text: get("/policy/issuer", bearer(signToken(keys.stranger, "RS256", claims))),
    logs: "403 -",
  },
  {
    name: "admits a scope",
    text: get("/policy/scope", bearer(withClaims({ scope: "read write" }))),
    logs: passes,
  },
  {
    name: "admits no other scope",
    text: get("/policy/scope", bearer(withClaims({ scope: "rewrite" }))),
    logs: "403 -",
  },
  {
    name: "admits a claim inside another",
    text: get("/policy/nested", bearer(withClaims({ a: { b: 0 } }))),
    logs: passes,
  },
  { name: "admits where a claim is absent", text: get("/policy/absent"), logs: passes },
  {
    name: "admits nobody where a claim shall be absent",
    text: get("/policy/absent", bearer(withClaims({ a: { b: 0 } }))),
    logs: "403 -",
  },
];
