/** What becomes of tokens by what they are: algorithms, keys, form, claims. */
import { encodePart, signToken } from "../../support/tokens.ts";
import { issuer, keys } from "./jwt-bootstrap.ts";
import {
  bearer,
  bounded,
  claims,
  confused,
  denied,
  fails,
  forbidden,
  get,
  good,
  goodHeader,
  goodPayload,
  goodSignature,
  main,
  missing,
  noKey,
  nowS,
  passes,
  rewritten,
  secondsAgo,
  shortened,
  unsigned,
  unsignedLong,
  withClaims,
  withHeader,
  withPayload,
  type JwtScenario,
} from "./jwt-pieces.ts";

export const tokenScenarios: readonly JwtScenario[] = [
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
];
