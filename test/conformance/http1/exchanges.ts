/**
 * Probes whose answer is more than a status: several requests on one connection, what reaches the
 * application, what an answer's head says. A proxy passes what is the application's to decide.
 */
import type { Observed, Probe } from "./probes.ts";

const served = [200] as const;
const reject = [400] as const;
const rejectCoding = [400, 501] as const;
/** Nothing is said: the request goes on. */
const silence = ["closed"] as const;

const smuggledGet = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const smuggledHead = "HEAD /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
const next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

function get(path: string, ...fields: readonly string[]): string {
  return message("GET", path, "", fields);
}

function message(
  method: string,
  path: string,
  ...[body, fields]: [body: string, fields: readonly string[]]
): string {
  return `${[`${method} ${path} HTTP/1.1`, "Host: a", ...fields].join("\r\n")}\r\n\r\n${body}`;
}

/** Length and coding at once, in this order; then a request that must not be seen. */
function bothWays(...fields: readonly string[]): string {
  return message("POST", "/", `0\r\n\r\n${smuggledGet}`, fields);
}

const length = "Content-Length: 6";
const coding = "Transfer-Encoding: chunked";

/** `answers`: statuses of all answers, when there are several. */
function probe(
  id: string,
  bytes: string,
  ...[expect, more]: [expect: Probe["expect"], more?: Pick<Probe, "answers" | "holds">]
): Probe {
  return { id, bytes, expect, ...more };
}

type Check = (observed: Observed) => string | undefined;

function answerHas(pattern: RegExp): Check {
  return ({ text }) => (pattern.test(text) ? undefined : `the answer lacks ${String(pattern)}`);
}

function answerLacks(pattern: RegExp): Check {
  return ({ text }) => (pattern.test(text) ? `the answer has ${String(pattern)}` : undefined);
}

/** The application saw these values of a field, no others. */
function sees(name: string, ...values: readonly string[]): Check {
  return ({ seen }) => {
    const found = seen.flatMap(({ fields }) => fields.filter(([one]) => one === name));
    const text = found.map(([, value]) => value).join(" | ");
    return text === values.join(" | ") ? undefined : `${name} arrived as ${text}`;
  };
}

function seesPaths(...paths: readonly string[]): Check {
  return ({ seen }) => {
    const text = seen.map(({ path }) => path).join(" ");
    return text === paths.join(" ") ? undefined : `requests arrived: ${text}`;
  };
}

/** The end itself may take a while: Envoy lets the client go first. */
const closes: Check = ({ text }) =>
  /\r\nconnection: close\r\n/i.test(text) ? undefined : "the connection stays open";
const isRefusedWhole: Check = (observed) =>
  observed.seen.length > 0 ? "the application saw something" : closes(observed);
const two = { answers: [200, 200], holds: seesPaths("/", "/next") };

function trailer(field: string): string {
  return message("POST", "/", `5\r\nhello\r\n0\r\n${field}\r\n\r\n`, [coding]);
}

const smuggling: readonly Probe[] = [
  probe("SMUG-CLTE-PIPELINE", bothWays(length, coding), reject, { holds: isRefusedWhole }),
  probe("SMUG-TECL-PIPELINE", bothWays(coding, length), reject, { holds: isRefusedWhole }),
  probe("SMUG-CLTE-CONN-CLOSE", bothWays(length, coding, "Connection: close"), reject),
  probe("SMUG-TECL-CONN-CLOSE", bothWays(coding, length, "Connection: close"), reject),
  probe("SMUG-CLTE-DESYNC", message("POST", "/", "0\r\n\r\nX", [length, coding]), reject, {
    holds: isRefusedWhole,
  }),
  probe(
    "SMUG-TECL-DESYNC",
    message("POST", "/", "1\r\nX\r\n0\r\n\r\nX", [coding, "Content-Length: 30"]),
    reject,
    { holds: isRefusedWhole },
  ),
  probe("SMUG-CLTE-SMUGGLED-GET", bothWays(length, coding), reject, { holds: isRefusedWhole }),
  probe("SMUG-TECL-SMUGGLED-GET", bothWays(coding, length), reject, { holds: isRefusedWhole }),
  probe(
    "SMUG-CLTE-SMUGGLED-HEAD",
    message("POST", "/", `0\r\n\r\n${smuggledHead}`, [length, coding]),
    reject,
    { holds: isRefusedWhole },
  ),
  probe("SMUG-CLTE-SMUGGLED-GET-CL-PLUS", bothWays("Content-Length: +6", coding), reject),
  probe("SMUG-CLTE-SMUGGLED-GET-CL-NON-NUMERIC", bothWays("Content-Length: N", coding), reject),
  probe(
    "SMUG-CLTE-SMUGGLED-GET-TE-OBS-FOLD",
    bothWays(length, "Transfer-Encoding:\r\n chunked"),
    rejectCoding,
  ),
  probe("SMUG-CLTE-SMUGGLED-GET-TE-TRAILING-SPACE", bothWays(length, `${coding} `), reject),
  probe(
    "SMUG-CLTE-SMUGGLED-GET-TE-LEADING-COMMA",
    bothWays(length, "Transfer-Encoding: ,chunked"),
    rejectCoding,
  ),
  probe(
    "SMUG-CLTE-SMUGGLED-GET-TE-CASE-MISMATCH",
    bothWays(length, "Transfer-Encoding: cHuNkEd"),
    reject,
  ),
  probe(
    "SMUG-TE-DUPLICATE-HEADERS-SMUGGLED-GET",
    bothWays(length, coding, "Transfer-Encoding: identity"),
    rejectCoding,
  ),
  probe("SMUG-DUPLICATE-CL-SMUGGLED-GET", bothWays("Content-Length: 0", length), reject),
  probe(
    "SMUG-GET-CL-PREFIX-DESYNC",
    message("GET", "/", `GET /smuggled HTTP/1.1\r\nX: ${next}`, ["Content-Length: 27"]),
    served,
    two,
  ),
  probe(
    "SMUG-GET-CL-BODY-DESYNC",
    message("GET", "/", `hello${next}`, ["Content-Length: 5"]),
    served,
    two,
  ),
  probe(
    "SMUG-OPTIONS-CL-BODY-DESYNC",
    message("OPTIONS", "/", `hello${next}`, ["Content-Length: 5"]),
    served,
    two,
  ),
  probe("SMUG-OPTIONS-CL-BODY", message("OPTIONS", "/", "hello", ["Content-Length: 5"]), served),
  probe(
    "SMUG-EXPECT-100-CL-DESYNC",
    message("POST", "/", `hello${next}`, ["Content-Length: 5", "Expect: 100-continue"]),
    served,
    two,
  ),
  probe(
    "SMUG-EXPECT-100-CL",
    message("POST", "/", "hello", ["Content-Length: 5", "Expect: 100-continue"]),
    served,
  ),
  probe(
    "SMUG-CL0-BODY-POISON",
    message("POST", "/", `PURGE${next.slice(3)}`, ["Content-Length: 0"]),
    served,
    two,
  ),
  probe(
    "SMUG-OPTIONS-TE-OBS-FOLD",
    message("OPTIONS", "/", `0\r\n\r\n${smuggledGet}`, ["Transfer-Encoding:\r\n chunked"]),
    rejectCoding,
  ),
  probe(
    "SMUG-CHUNK-INVALID-SIZE-DESYNC",
    message("POST", "/", `+0\r\n\r\n${smuggledGet}`, [coding]),
    reject,
  ),
  probe("SMUG-PIPELINE-SAFE", get("/") + next, served, two),
  probe(
    "SMUG-TRANSFER_ENCODING",
    message("POST", "/", "hello", ["Content-Length: 5", "Transfer_Encoding: chunked"]),
    served,
  ),
  probe("SMUG-TRAILER-TE", trailer("Transfer-Encoding: chunked"), served, {
    holds: seesPaths("/"),
  }),
  probe("SMUG-TRAILER-AUTH", trailer("Authorization: Bearer x"), served, {
    holds: sees("authorization"),
  }),
  probe("SMUG-TRAILER-CONTENT-TYPE", trailer("Content-Type: text/evil"), served, {
    holds: sees("content-type"),
  }),
  probe(
    "SMUG-CL-LEADING-ZEROS-OCTAL",
    message("POST", "/", "A".repeat(200), ["Content-Length: 0200"]),
    reject,
  ),
  probe(
    "SMUG-TE-TAB-BEFORE-VALUE",
    message("POST", "/", "5\r\nhello\r\n0\r\n\r\n", ["Transfer-Encoding:\tchunked"]),
    served,
  ),
  probe(
    "NORM-CASE-TE",
    message("POST", "/", "5\r\nhello\r\n0\r\n\r\n", ["TRANSFER-ENCODING: chunked"]),
    served,
  ),
];

const upgrade = ["Connection: Upgrade", "Upgrade: websocket"] as const;
const http10 = (...fields: readonly string[]): string =>
  get("/", ...fields).replace("HTTP/1.1", "HTTP/1.0");

const compliance: readonly Probe[] = [
  // There is no route for `*`: the application is not asked.
  probe("COMP-OPTIONS-STAR", message("OPTIONS", "*", "", []), [404]),
  probe("COMP-POST-CL-UNDERSEND", message("POST", "/", "hello", ["Content-Length: 10"]), silence),
  probe("COMP-CHUNKED-NO-FINAL", message("POST", "/", "5\r\nhello\r\n", [coding]), silence),
  probe("COMP-UPGRADE-POST", message("POST", "/", "", [...upgrade, "Content-Length: 0"]), [403]),
  probe("COMP-UPGRADE-INVALID-VER", get("/", ...upgrade, "Sec-WebSocket-Version: 99"), [403]),
  probe("COMP-UPGRADE-HTTP10", http10(...upgrade), [426]),
  probe("COMP-METHOD-TRACE", message("TRACE", "/", "", []), served),
  probe("COMP-TRACE-WITH-BODY", message("TRACE", "/", "hello", ["Content-Length: 5"]), served),
  probe("COMP-TRACE-SENSITIVE", message("TRACE", "/", "", ["Authorization: secret"]), served, {
    holds: answerLacks(/secret/),
  }),
  probe("COMP-CONNECTION-CLOSE", get("/", "Connection: close"), served, { holds: closes }),
  probe("COMP-HTTP10-DEFAULT-CLOSE", http10(), [426], { holds: closes }),
  probe("COMP-NO-1XX-HTTP10", http10("Expect: 100-continue"), [426], {
    holds: answerLacks(/ 100 /),
  }),
  probe("COMP-RANGE-POST", message("POST", "/", "", ["Range: bytes=0-1"]), served, {
    holds: sees("range", "bytes=0-1"),
  }),
  probe("COMP-RANGE-INVALID", get("/", "Range: bytes=9-2"), served, {
    holds: sees("range", "bytes=9-2"),
  }),
  probe("COMP-HEAD-NO-BODY", message("HEAD", "/", "", []), served, {
    holds: answerHas(/\r\n\r\n$/),
  }),
  probe("COMP-UNKNOWN-METHOD", message("FOOBAR", "/", "", []), reject, {
    holds: ({ seen }) => (seen.length === 0 ? undefined : "the application saw it"),
  }),
  probe("METHOD-OF-WEBDAV", message("PROPFIND", "/", "", []), served),
  probe("COMP-405-ALLOW", message("DELETE", "/allow", "", []), [405], {
    holds: answerHas(/\r\nallow: GET, HEAD\r\n/i),
  }),
  probe("COMP-OPTIONS-ALLOW", message("OPTIONS", "/allow", "", []), served, {
    holds: answerHas(/\r\nallow: GET, HEAD\r\n/i),
  }),
  probe("COMP-DATE-HEADER", get("/"), served, { holds: answerHas(/\r\ndate: [^\r]+\r\n/i) }),
  probe("COMP-DATE-FORMAT", get("/"), served, {
    holds: answerHas(
      /\r\ndate: (Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n/i,
    ),
  }),
  probe("COMP-NO-CL-IN-204", get("/no-content"), [204], { holds: answerLacks(/content-length/i) }),
  probe("COMP-CONTENT-TYPE", get("/"), served, {
    holds: answerHas(/\r\ncontent-type: text\/plain\r\n/i),
  }),
  probe("COMP-DUPLICATE-CT", get("/", "Content-Type: a/b", "Content-Type: c/d"), served),
  probe("COMP-ACCEPT-NONSENSE", get("/", "Accept: nonsense"), served, {
    holds: sees("accept", "nonsense"),
  }),
  probe(
    "COMP-POST-UNSUPPORTED-CT",
    message("POST", "/", "x", ["Content-Type: x/y", "Content-Length: 1"]),
    served,
    {
      holds: sees("content-type", "x/y"),
    },
  ),
];

const malformed: readonly Probe[] = [
  probe("MAL-LONG-URL", get(`/${"A".repeat(100_000)}`), [400, 414, 431]),
  probe("MAL-INCOMPLETE-REQUEST", "GET / HTTP/1.1\r\nHost: a\r\nX", silence),
  probe("MAL-EMPTY-REQUEST", "", silence),
  probe("MAL-URL-BACKSLASH", get("/a\\b"), served, { holds: seesPaths("/a\\b") }),
  probe("MAL-URL-OVERLONG-UTF8", get("/\xc0\xaf"), reject),
  probe("MAL-URL-PERCENT-NULL", get("/a%00"), served, { holds: seesPaths("/a%00") }),
  probe("MAL-URL-PERCENT-CRLF", get("/a%0d%0ab"), served, { holds: seesPaths("/a%0d%0ab") }),
  probe("MAL-RANGE-OVERLAPPING", get("/", `Range: bytes=${"0-,".repeat(500)}0-`), served),
  probe(
    "MAL-POST-CL-HUGE-NO-BODY",
    message("POST", "/", "", ["Content-Length: 999999999"]),
    silence,
  ),
];

const pairs = Array.from({ length: 1000 }, (_, index) => `k${index}=v`).join("; ");

const cookies: readonly Probe[] = [
  probe("COOK-ECHO", get("/", "Cookie: foo=bar"), served, { holds: sees("cookie", "foo=bar") }),
  probe("COOK-OVERSIZED", get("/", `Cookie: big=${"A".repeat(65_536)}`), [400, 431]),
  probe("COOK-EMPTY", get("/", "Cookie: "), served),
  probe("COOK-NUL", get("/", "Cookie: foo=\0bar"), reject),
  probe("COOK-CONTROL-CHARS", get("/", "Cookie: foo=\x01\x02\x03"), reject),
  probe("COOK-MANY-PAIRS", get("/", `Cookie: ${pairs}`), served, { holds: sees("cookie", pairs) }),
  probe("COOK-MALFORMED", get("/", "Cookie: ===;;;"), served, { holds: sees("cookie", "===;;;") }),
  probe("COOK-MULTI-HEADER", get("/", "Cookie: a=1", "Cookie: b=2"), served, {
    holds: (observed) =>
      sees("cookie", "a=1", "b=2")(observed) && sees("cookie", "a=1; b=2")(observed),
  }),
  ...Object.entries({
    "COOK-PARSED-BASIC": "foo=bar",
    "COOK-PARSED-MULTI": "a=1; b=2; c=3",
    "COOK-PARSED-EMPTY-VAL": "foo=",
    "COOK-PARSED-SPECIAL": "a=hello world; b=x=y",
  }).map(([id, cookie]) =>
    probe(id, get("/", `Cookie: ${cookie}`), served, { holds: sees("cookie", cookie) }),
  ),
];

const hasTag = answerHas(/\r\netag: "v1"\r\n/i);
const old = "If-Modified-Since: Mon, 01 Jan 2024 00:00:00 GMT";

/** `/versioned` has the entity tag "v1" and was modified on 1 January 2024. */
const capabilities: readonly Probe[] = [
  probe("CAP-ETAG-304", get("/versioned", 'If-None-Match: "v1"'), [304]),
  probe("CAP-LAST-MODIFIED-304", get("/versioned", old), [304]),
  probe("CAP-ETAG-IN-304", get("/versioned", 'If-None-Match: "v1"'), [304], { holds: hasTag }),
  probe("CAP-INM-PRECEDENCE", get("/versioned", 'If-None-Match: "v0"', old), served),
  probe("CAP-INM-WILDCARD", get("/versioned", "If-None-Match: *"), [304]),
  probe("CAP-IMS-FUTURE", get("/versioned", old.replace("2024", "2099")), [304]),
  probe("CAP-IMS-INVALID", get("/versioned", "If-Modified-Since: yesterday"), served),
  probe("CAP-INM-UNQUOTED", get("/versioned", "If-None-Match: v1"), served),
  probe("CAP-ETAG-WEAK", get("/versioned", 'If-None-Match: W/"v1"'), [304]),
];

export const exchanges: readonly Probe[] = [
  ...smuggling,
  ...compliance,
  ...malformed,
  ...cookies,
  ...capabilities,
];
