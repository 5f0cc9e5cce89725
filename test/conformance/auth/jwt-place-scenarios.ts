/** What becomes of requests by where their tokens stand, what is required, and who asks afterwards. */
import { signToken } from "../../support/tokens.ts";
import { keys } from "./jwt-bootstrap.ts";
import {
  bearer,
  claims,
  denied,
  fromRemote,
  get,
  good,
  main,
  missing,
  passes,
  withClaims,
  type JwtScenario,
} from "./jwt-pieces.ts";

export const placeScenarios: readonly JwtScenario[] = [
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
  {
    name: "tells no token of a query where a route sends the client",
    text: get(`/moved?a=1&tok=${good}&b=2`),
    logs: "301 - direct_response",
  },
  {
    name: "tells no token of a query in an answer of a route's own",
    text: get(`/found?a=1&tok=${good}&b=2`),
    logs: "302 - direct_response",
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
  {
    name: "has keys ahead of requests",
    text: get(
      "/ahead",
      bearer(signToken(keys.remote, "ES256", { iss: "https://ahead.test", sub: "a" })),
    ),
    logs: passes,
  },
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

  // What filters before have set.
  { name: "requires nothing where no rule matches", text: get("/else"), logs: passes },
  { name: "requires what a state says", text: get("/else", "X-Wants: main"), logs: missing },
  {
    name: "takes what a state says",
    text: get("/else", "X-Wants: main", bearer(good)),
    logs: passes,
  },
  {
    name: "takes what another state says",
    text: get("/else", "X-Wants: places", `X-Token: ${good}`),
    logs: passes,
  },
  { name: "requires nothing by a strange state", text: get("/else", "X-Wants: x"), logs: passes },
  {
    name: "requires nothing of the missing by a state",
    text: get("/else", "X-Wants: missing"),
    logs: passes,
  },
  { name: "asks rules before the state", text: get("/open", "X-Wants: main"), logs: passes },

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
