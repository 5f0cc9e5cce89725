/**
 * Requests that two HTTP/1.1 readers could understand differently, and what a strict proxy says to
 * them. Ids are those of the Http11Probe suite where it has one.
 */
import { exchanges } from "./exchanges.ts";

export interface Probe {
  readonly id: string;
  readonly bytes: string;
  /** Statuses that are right; `closed`: the connection ends, or waits, without an answer. */
  readonly expect: readonly (number | "closed")[];
  /** Statuses of all answers, where there are several. */
  readonly answers?: readonly number[];
  /** What is wrong beyond that. */
  readonly holds?: (observed: Observed) => string | undefined;
}

export interface SeenRequest {
  readonly path: string;
  /** Names in lower case. */
  readonly fields: readonly (readonly [name: string, value: string])[];
}

/** What became of a probe. */
export interface Observed {
  /** All that was answered. */
  readonly text: string;
  readonly isClosed: boolean;
  /** What the application saw. */
  readonly seen: readonly SeenRequest[];
}

const reject = [400] as const;
const rejectCoding = [400, 501] as const;
const tooLarge = [400, 431] as const;
const served = [200] as const;

const post = "POST / HTTP/1.1\r\nHost: a\r\n";
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

function head(...lines: readonly string[]): string {
  return `${lines.join("\r\n")}\r\n\r\n`;
}

function withLength(value: string, body = "hello"): string {
  return `${post}Content-Length: ${value}\r\n\r\n${body}`;
}

function withCoding(field: string): string {
  return `${post}${field}\r\n\r\n5\r\nhello\r\n0\r\n\r\n`;
}

function chunked(body: string): string {
  return `${post}Transfer-Encoding: chunked\r\n\r\n${body}`;
}

function probe(id: string, bytes: string, expect: Probe["expect"]): Probe {
  return { id, bytes, expect };
}

const requestLine: readonly Probe[] = [
  probe("COMP-BASELINE", head("GET / HTTP/1.1", "Host: a"), served),
  probe("RFC9112-2.2-BARE-LF-REQUEST-LINE", "GET / HTTP/1.1\nHost: a\r\n\r\n", reject),
  probe("RFC9112-2.2-BARE-LF-HEADER", "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n", reject),
  probe("RFC9112-3-CR-ONLY-LINE-ENDING", "GET / HTTP/1.1\rHost: a\r\r", reject),
  probe("RFC9112-3-MULTI-SP-REQUEST-LINE", head("GET  / HTTP/1.1", "Host: a"), reject),
  probe("COMP-REQUEST-LINE-TAB", head("GET\t/\tHTTP/1.1", "Host: a"), reject),
  probe("RFC9112-3-MISSING-TARGET", head("GET HTTP/1.1", "Host: a"), reject),
  probe("RFC9112-3.2-FRAGMENT-IN-TARGET", head("GET /a#b HTTP/1.1", "Host: a"), reject),
  probe("COMP-SPACE-IN-TARGET", head("GET /a b HTTP/1.1", "Host: a"), reject),
  probe("MAL-NUL-IN-URL", head("GET /\0 HTTP/1.1", "Host: a"), reject),
  probe("MAL-NON-ASCII-URL", head("GET /\u00e9 HTTP/1.1", "Host: a"), reject),
  probe("RFC9112-2.3-HTTP09-REQUEST", "GET /\r\n\r\n", reject),
  probe("RFC9112-2.3-INVALID-VERSION", head("GET / HTTP/9.9", "Host: a"), reject),
  probe("COMP-HTTP12-VERSION", head("GET / HTTP/1.2", "Host: a"), reject),
  probe("COMP-VERSION-CASE", head("GET / http/1.1", "Host: a"), reject),
  probe("COMP-VERSION-MISSING-MINOR", head("GET / HTTP/1", "Host: a"), reject),
  probe("COMP-VERSION-LEADING-ZEROS", head("GET / HTTP/01.01", "Host: a"), reject),
  probe("COMP-VERSION-WHITESPACE", head("GET / HTTP/ 1.1", "Host: a"), reject),
  probe("COMP-METHOD-CASE", head("get / HTTP/1.1", "Host: a"), reject),
  probe("MAL-LONG-METHOD", head(`${"A".repeat(8192)} / HTTP/1.1`, "Host: a"), tooLarge),
  probe("COMP-LEADING-CRLF", `\r\n${head("GET / HTTP/1.1", "Host: a")}`, served),
  probe("CRLF-CR-X", "\r\n\rX", reject),
  probe("COMP-ASTERISK-WITH-GET", head("GET * HTTP/1.1", "Host: a"), reject),
  probe("COMP-ABSOLUTE-FORM", head("GET http://a/ HTTP/1.1", "Host: a"), served),
  probe("SMUG-ABSOLUTE-URI-HOST-MISMATCH", head("GET http://b/ HTTP/1.1", "Host: a"), served),
  probe("ABSOLUTE-USERINFO", head("GET http://u@b/ HTTP/1.1", "Host: a"), reject),
  probe("ABSOLUTE-OTHER-SCHEME", head("GET ftp://b/ HTTP/1.1", "Host: a"), reject),
  probe("AUTHORITY-FORM-WITH-GET", head("GET a:80 HTTP/1.1", "Host: a"), reject),
  probe("RELATIVE-TARGET", head("GET a HTTP/1.1", "Host: a"), [400, 404]),
  probe("MAL-BINARY-GARBAGE", "\u0016\u0003\u0001\u0002\0\u0001\0\r\n\r\n", reject),
  // HTTP/2 from here on: the end of its connection is told in frames.
  probe("MAL-H2-PREFACE", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ["closed"]),
  probe("COMP-LONG-URL-OK", head(`GET /${"a".repeat(7000)} HTTP/1.1`, "Host: a"), served),
];

const fields: readonly Probe[] = [
  probe("RFC9112-5.1-OBS-FOLD", head("GET / HTTP/1.1", "Host: a", "X: 1", " 2"), reject),
  probe("RFC9110-5.6.2-SP-BEFORE-COLON", head("GET / HTTP/1.1", "Host: a", "X : 1"), reject),
  probe("COMP-WHITESPACE-BEFORE-HEADERS", head("GET / HTTP/1.1", " Host: a"), reject),
  probe("MAL-WHITESPACE-ONLY-LINE", head("GET / HTTP/1.1", "Host: a", " "), reject),
  probe("RFC9112-5-EMPTY-HEADER-NAME", head("GET / HTTP/1.1", "Host: a", ": 1"), reject),
  probe("RFC9112-5-INVALID-HEADER-NAME", head("GET / HTTP/1.1", "Host: a", "X[1]: 1"), reject),
  probe("RFC9112-5-HEADER-NO-COLON", head("GET / HTTP/1.1", "Host: a", "X"), reject),
  probe("NORM-TAB-IN-NAME", head("GET / HTTP/1.1", "Host: a", "X\t: 1"), reject),
  probe("MAL-NON-ASCII-HEADER-NAME", head("GET / HTTP/1.1", "Host: a", "\u00e9: 1"), reject),
  probe("MAL-NUL-IN-HEADER-VALUE", head("GET / HTTP/1.1", "Host: a", "X: 1\x002"), reject),
  probe("MAL-CONTROL-CHARS-HEADER", head("GET / HTTP/1.1", "Host: a", "X: \u0001"), reject),
  probe("MAL-DEL-IN-VALUE", head("GET / HTTP/1.1", "Host: a", "X: \u007f"), reject),
  probe("SMUG-BARE-CR-HEADER-VALUE", head("GET / HTTP/1.1", "Host: a", "X: 1\r2"), reject),
  probe("MAL-MANY-HEADERS", head("GET / HTTP/1.1", "Host: a", ...manyFields(101)), tooLarge),
  probe("MANY-HEADERS-OK", head("GET / HTTP/1.1", "Host: a", ...manyFields(90)), served),
  probe(
    "MAL-LONG-HEADER-VALUE",
    head("GET / HTTP/1.1", "Host: a", `X: ${"a".repeat(65_000)}`),
    tooLarge,
  ),
  probe(
    "MAL-LONG-HEADER-NAME",
    head("GET / HTTP/1.1", "Host: a", `${"a".repeat(65_600)}: 1`),
    tooLarge,
  ),
  probe("RFC9112-7.1-MISSING-HOST", head("GET / HTTP/1.1", "X: 1"), reject),
  probe("RFC9110-5.4-DUPLICATE-HOST", head("GET / HTTP/1.1", "Host: a", "Host: b"), reject),
  probe("COMP-DUPLICATE-HOST-SAME", head("GET / HTTP/1.1", "Host: a", "Host: a"), reject),
  probe("COMP-HOST-WITH-USERINFO", head("GET / HTTP/1.1", "Host: u@a"), reject),
  probe("COMP-HOST-WITH-PATH", head("GET / HTTP/1.1", "Host: a/b"), reject),
  probe("COMP-HOST-EMPTY-VALUE", head("GET / HTTP/1.1", "Host:"), reject),
  probe("SMUG-MULTIPLE-HOST-COMMA", head("GET / HTTP/1.1", "Host: a, b"), reject),
  probe("HOST-WITH-BAD-PORT", head("GET / HTTP/1.1", "Host: a:http"), reject),
  probe("COMP-HTTP10-NO-HOST", head("GET / HTTP/1.0"), [400, 426]),
  probe("NORM-UNDERSCORE-CL", `${head("POST / HTTP/1.1", "Host: a", "Content_Length: 5")}`, served),
  probe(
    "NORM-UNDERSCORE-TE",
    head("GET / HTTP/1.1", "Host: a", "Transfer_Encoding: chunked"),
    served,
  ),
  probe("CONNECTION-NOMINATES-HOST", head("GET / HTTP/1.1", "Host: a", "Connection: host"), reject),
  probe(
    "CONNECTION-NOMINATES-NINE",
    head("GET / HTTP/1.1", "Host: a", "Connection: a,b,c,,d,e", "Connection: f, g, h, i"),
    served,
  ),
  probe(
    "CONNECTION-NOMINATES-TEN",
    head("GET / HTTP/1.1", "Host: a", "Connection: a,b,c,,d,e", "Connection: f, g, h, i, close"),
    reject,
  ),
  ...["For", "Host", "Proto"].map((what) =>
    probe(
      `CONNECTION-NOMINATES-FORWARDED-${what.toUpperCase()}`,
      head("GET / HTTP/1.1", "Host: a", `Connection: X-Forwarded-${what}`),
      reject,
    ),
  ),
  probe(
    "CONNECTION-NOMINATES-CLIENT-CERT",
    head("GET / HTTP/1.1", "Host: a", "Connection: X-Forwarded-Client-Cert"),
    served,
  ),
  probe("COMP-EXPECT-UNKNOWN", head("GET / HTTP/1.1", "Host: a", "Expect: x"), [417]),
];

const lengths: readonly Probe[] = [
  probe("COMP-POST-CL-BODY", withLength("5"), served),
  probe("COMP-POST-CL-ZERO", withLength("0", ""), served),
  probe("COMP-POST-NO-CL-NO-TE", `${post}\r\n`, served),
  probe("RFC9112-6.1-CL-NON-NUMERIC", withLength("abc"), reject),
  probe("RFC9112-6.1-CL-PLUS-SIGN", withLength("+5"), reject),
  probe("SMUG-CL-NEGATIVE", withLength("-5"), reject),
  probe("SMUG-CL-NEGATIVE-ZERO", withLength("-0"), reject),
  probe("SMUG-CL-HEX-PREFIX", withLength("0x5"), reject),
  probe("SMUG-CL-OCTAL", withLength("0o5"), reject),
  probe("SMUG-CL-UNDERSCORE", withLength("1_0", "0123456789"), reject),
  probe("SMUG-CL-LEADING-ZEROS", withLength("005"), reject),
  probe("SMUG-CL-DOUBLE-ZERO", withLength("00", ""), reject),
  probe("SMUG-CL-INTERNAL-SPACE", withLength("5 5"), reject),
  probe("SMUG-CL-COMMA-SAME", withLength("5, 5"), reject),
  probe("SMUG-CL-COMMA-DIFFERENT", withLength("5, 6"), reject),
  probe("SMUG-CL-COMMA-TRIPLE", withLength("5, 5, 5"), reject),
  probe("SMUG-CL-TRAILING-SPACE", withLength("5 "), served),
  probe("SMUG-CL-EXTRA-LEADING-SP", withLength(" 5"), served),
  probe("MAL-CL-TAB-BEFORE-VALUE", withLength("\t5"), served),
  probe("MAL-CL-EMPTY", withLength(""), reject),
  probe("MAL-CL-OVERFLOW", withLength("18446744073709551616"), reject),
  probe("SMUG-DUPLICATE-CL", withLength("5\r\nContent-Length: 6"), reject),
  probe("DUPLICATE-CL-SAME", withLength("5\r\nContent-Length: 5"), reject),
  probe("NORM-SP-BEFORE-COLON-CL", `${post}Content-Length : 5\r\n\r\nhello`, reject),
];

const codings: readonly Probe[] = [
  probe("COMP-CHUNKED-BODY", withCoding("Transfer-Encoding: chunked"), served),
  probe("SMUG-TE-CASE-MISMATCH", withCoding("Transfer-Encoding: Chunked"), served),
  probe("SMUG-TE-TRAILING-SPACE", withCoding("Transfer-Encoding: chunked "), served),
  probe("SMUG-CL-TE-BOTH", withCoding("Content-Length: 5\r\nTransfer-Encoding: chunked"), reject),
  probe("SMUG-TECL", withCoding("Transfer-Encoding: chunked\r\nContent-Length: 3"), reject),
  probe("SMUG-TE-XCHUNKED", withCoding("Transfer-Encoding: xchunked"), rejectCoding),
  probe("SMUG-TE-IDENTITY", withCoding("Transfer-Encoding: identity"), rejectCoding),
  probe("COMP-UNKNOWN-TE-501", withCoding("Transfer-Encoding: gzip"), rejectCoding),
  probe("SMUG-TE-NOT-FINAL-CHUNKED", withCoding("Transfer-Encoding: chunked, gzip"), rejectCoding),
  probe("TE-GZIP-CHUNKED", withCoding("Transfer-Encoding: gzip, chunked"), rejectCoding),
  probe("SMUG-TE-DOUBLE-CHUNKED", withCoding("Transfer-Encoding: chunked, chunked"), rejectCoding),
  probe(
    "SMUG-TE-DUPLICATE-HEADERS",
    withCoding("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    rejectCoding,
  ),
  probe("SMUG-TE-EMPTY-VALUE", withCoding("Transfer-Encoding:"), rejectCoding),
  probe("SMUG-TE-LEADING-COMMA", withCoding("Transfer-Encoding: ,chunked"), rejectCoding),
  probe("SMUG-TE-TRAILING-COMMA", withCoding("Transfer-Encoding: chunked,"), rejectCoding),
  probe("SMUG-CHUNKED-WITH-PARAMS", withCoding("Transfer-Encoding: chunked;q=1"), rejectCoding),
  probe("SMUG-TE-VTAB", withCoding("Transfer-Encoding: \u000bchunked"), rejectCoding),
  probe("SMUG-TE-FORMFEED", withCoding("Transfer-Encoding: \fchunked"), rejectCoding),
  probe("SMUG-TE-NULL", withCoding("Transfer-Encoding: chunked\0"), rejectCoding),
  probe("SMUG-TE-OBS-FOLD", withCoding("Transfer-Encoding:\r\n chunked"), rejectCoding),
  probe("SMUG-TE-SP-BEFORE-COLON", withCoding("Transfer-Encoding : chunked"), reject),
  probe(
    "SMUG-TE-HTTP10",
    withCoding("Transfer-Encoding: chunked").replace("HTTP/1.1", "HTTP/1.0"),
    [400, 426],
  ),
];

const chunks: readonly Probe[] = [
  probe("COMP-CHUNKED-MULTI", chunked("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"), served),
  probe("COMP-CHUNKED-EMPTY", chunked("0\r\n\r\n"), served),
  probe("COMP-CHUNKED-HEX-UPPERCASE", chunked(`A\r\n${"x".repeat(10)}\r\n0\r\n\r\n`), served),
  probe("COMP-CHUNKED-EXTENSION", chunked("5;a=b\r\nhello\r\n0\r\n\r\n"), served),
  probe("COMP-CHUNKED-TRAILER-VALID", chunked("5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"), served),
  probe("SMUG-CHUNK-BARE-SEMICOLON", chunked("5;\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-EXT-INVALID-TOKEN", chunked("5;a=[\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-EXT-LF", chunked("5;a\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-EXT-CR", chunked("5;a\rb\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-EXT-CTRL", chunked("5;a\u0001\r\nhello\r\n0\r\n\r\n"), reject),
  probe("CHUNK-EXT-QUOTED-NEWLINE", chunked('5;a="\r\n"\r\nhello\r\n0\r\n\r\n'), reject),
  probe("MAL-CHUNK-EXT-64K", chunked(`5;${"a".repeat(65_536)}\r\nhello\r\n0\r\n\r\n`), tooLarge),
  probe("SMUG-CHUNK-UNDERSCORE", chunked("1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-HEX-PREFIX", chunked("0x5\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-SIZE-PLUS", chunked("+5\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-NEGATIVE", chunked("-5\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-LEADING-SP", chunked(" 5\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-SIZE-TRAILING-OWS", chunked("5 \r\nhello\r\n0\r\n\r\n"), reject),
  probe("MAL-CHUNK-SIZE-OVERFLOW", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-MISSING-TRAILING-CRLF", chunked("5\r\nhello0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-SPILL", chunked("5\r\nhello!!\r\n0\r\n\r\n"), reject),
  probe("SMUG-CHUNK-LF-TERM", chunked("5\nhello\n0\n\n"), reject),
  probe("SMUG-CHUNK-BARE-CR-TERM", chunked("5\rhello\r0\r\r"), reject),
  probe("SMUG-CHUNK-LF-TRAILER", chunked("5\r\nhello\r\n0\r\n\n"), reject),
  probe("CHUNK-EMPTY-SIZE", chunked("\r\nhello\r\n0\r\n\r\n"), reject),
  probe("SMUG-TRAILER-CL", chunked("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"), served),
  probe("SMUG-TRAILER-HOST", chunked("5\r\nhello\r\n0\r\nHost: evil\r\n\r\n"), served),
];

const connections: readonly Probe[] = [
  probe(
    "SMUG-HEAD-CL-BODY",
    "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    served,
  ),
  probe(
    "COMP-GET-WITH-CL-BODY",
    "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    served,
  ),
  probe("COMP-UPGRADE-UNKNOWN", upgrade("x/1", ""), [403]),
  probe(
    "COMP-UPGRADE-MISSING-CONN",
    head("GET / HTTP/1.1", "Host: a", "Upgrade: websocket"),
    served,
  ),
  probe("UPGRADE-NOT-ALLOWED-EARLY-BYTES", `${upgrade("websocket", "")}${smuggled}`, [403]),
  probe("UPGRADE-H2C-IGNORED", upgrade("h2c", "HTTP2-Settings: AAMAAABkAAQ"), served),
  probe("COMP-METHOD-CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", [403, 404]),
  probe(
    "CONNECT-WITH-LENGTH",
    "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\nContent-Length: 5\r\n\r\nhello",
    [400, 403, 404],
  ),
];

function upgrade(protocol: string, extra: string): string {
  const lines = ["GET / HTTP/1.1", "Host: a", "Connection: upgrade", `Upgrade: ${protocol}`];
  return head(...lines, ...(extra === "" ? [] : [extra]));
}

function manyFields(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `X-${index}: 1`);
}

export const probes: readonly Probe[] = [
  ...requestLine,
  ...fields,
  ...lengths,
  ...codings,
  ...chunks,
  ...connections,
  ...exchanges,
];
