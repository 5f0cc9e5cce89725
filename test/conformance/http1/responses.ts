/** Answers of an application that two readers could understand differently, and what a client may get. */
export interface ResponseProbe {
  readonly id: string;
  readonly method: "GET" | "HEAD";
  /** What the application says to one request. */
  readonly bytes: string;
  /** It closes then. */
  readonly closes: boolean;
  /**
   * Status, and whether the client has a whole message. `502`: the proxy's own. Nothing of it may be
   * taken for the answer to a later request.
   */
  readonly expect: string;
}

const ok = "HTTP/1.1 200 OK\r\n";
const refused = "502 whole";
const whole = "200 whole";
const broken = "200 broken";
const stolen = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen";

function probe(
  id: string,
  bytes: string,
  ...[expect, more = {}]: [
    expect: string,
    more?: { readonly method?: "GET" | "HEAD"; readonly closes?: boolean },
  ]
): ResponseProbe {
  return { id, method: more.method ?? "GET", bytes, closes: more.closes ?? false, expect };
}

function fields(lines: string, body = "hello"): string {
  return `${ok}${lines}\r\n\r\n${body}`;
}

function chunked(body: string): string {
  return fields("Transfer-Encoding: chunked", body);
}

const framing: readonly ResponseProbe[] = [
  probe("R-LENGTH", fields("Content-Length: 5"), whole),
  probe("R-LENGTH-TAB", fields("Content-Length:\t5 "), whole),
  probe("R-CHUNKED", chunked("5\r\nhello\r\n0\r\n\r\n"), whole),
  probe("R-UNTIL-CLOSE", fields("X: 1"), whole, { closes: true }),
  probe("R-CL-TE", fields("Content-Length: 5\r\nTransfer-Encoding: chunked"), refused),
  probe("R-TE-CL", fields("Transfer-Encoding: chunked\r\nContent-Length: 5"), refused),
  probe("R-TWO-LENGTHS", fields("Content-Length: 5\r\nContent-Length: 6"), refused),
  probe("R-LENGTH-TWICE", fields("Content-Length: 5\r\nContent-Length: 5"), refused),
  probe("R-LENGTH-LIST", fields("Content-Length: 5, 5"), refused),
  probe("R-LENGTH-PLUS", fields("Content-Length: +5"), refused),
  probe("R-LENGTH-MINUS", fields("Content-Length: -5"), refused),
  probe("R-LENGTH-HEX", fields("Content-Length: 0x5"), refused),
  probe("R-LENGTH-EMPTY", fields("Content-Length:"), refused),
  probe("R-LENGTH-OVERFLOW", fields("Content-Length: 18446744073709551616"), refused),
  probe("R-LENGTH-SPACE", fields("Content-Length: 5 5"), refused),
  probe("R-LENGTH-SHORT", fields("Content-Length: 50"), broken, { closes: true }),
  probe("R-TE-UNKNOWN", fields("Transfer-Encoding: xchunked"), refused),
  probe("R-TE-IDENTITY", fields("Transfer-Encoding: identity"), refused),
  probe("R-TE-NOT-FINAL", fields("Transfer-Encoding: chunked, gzip"), refused),
  probe("R-TE-TWICE", fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), refused),
  probe("R-TE-VTAB", fields("Transfer-Encoding: \u000bchunked"), refused),
  probe("R-TE-SP-BEFORE-COLON", fields("Transfer-Encoding : chunked"), refused),
  probe("R-CHUNK-PLUS", chunked("+5\r\nhello\r\n0\r\n\r\n"), broken),
  probe("R-CHUNK-HEX-PREFIX", chunked("0x5\r\nhello\r\n0\r\n\r\n"), broken),
  probe("R-CHUNK-OVERFLOW", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), broken),
  probe("R-CHUNK-NO-CRLF", chunked("5\r\nhello0\r\n\r\n"), broken),
  probe("R-CHUNK-SHORT", chunked("5\r\nhel"), broken, { closes: true }),
];

const heads: readonly ResponseProbe[] = [
  probe("R-NO-REASON", "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello", whole),
  probe("R-HTTP10", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", whole, { closes: true }),
  probe("R-TE-HTTP10", chunked("5\r\nhello\r\n0\r\n\r\n").replace("1.1", "1.0"), refused),
  probe("R-VERSION-2", "HTTP/2 200 OK\r\nContent-Length: 5\r\n\r\nhello", refused),
  probe("R-STATUS-SHORT", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello", refused),
  probe("R-STATUS-LOW", "HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello", refused),
  probe("R-GARBAGE", "SSH-2.0-OpenSSH_9.2\r\n\r\n", refused),
  probe("R-NUL", fields("X: a\0b\r\nContent-Length: 5"), refused),
  probe("R-CONTROL", fields("X: a\u0001b\r\nContent-Length: 5"), refused),
  probe("R-EMPTY-NAME", fields(": a\r\nContent-Length: 5"), refused),
  probe("R-NO-COLON", fields("X\r\nContent-Length: 5"), refused),
  probe("R-SP-BEFORE-COLON", fields("X : a\r\nContent-Length: 5"), refused),
  probe("R-LARGE-HEAD", fields(`X: ${"a".repeat(70_000)}\r\nContent-Length: 5`), refused),
  probe("R-MANY-FIELDS", fields(`${"X: a\r\n".repeat(110)}Content-Length: 5`), refused),
];

const surplus: readonly ResponseProbe[] = [
  probe("R-SURPLUS", fields("Content-Length: 5") + stolen, whole),
  probe("R-SURPLUS-AFTER-CHUNKS", chunked("5\r\nhello\r\n0\r\n\r\n") + stolen, whole),
  probe("R-HEAD-WITH-BODY", fields("Content-Length: 5"), whole, { method: "HEAD" }),
  probe("R-204-WITH-BODY", `HTTP/1.1 204 No Content\r\n\r\n${stolen}`, "204 whole"),
  probe("R-304-WITH-BODY", `HTTP/1.1 304 Not Modified\r\n\r\n${stolen}`, "304 whole"),
  probe("R-100-FIRST", `HTTP/1.1 100 Continue\r\n\r\n${fields("Content-Length: 5")}`, whole),
  probe(
    "R-103-FIRST",
    `HTTP/1.1 103 Early Hints\r\nX: 1\r\n\r\n${fields("Content-Length: 5")}`,
    whole,
  ),
  probe("R-NOTHING", "", "503 whole", { closes: true }),
];

export const responseProbes: readonly ResponseProbe[] = [...framing, ...heads, ...surplus];
