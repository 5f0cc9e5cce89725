import type { Door } from "./scenario-proxies.ts";

export interface Scenario {
  readonly name: string;
  /** `mesh` unless named. */
  readonly door?: Door;
  /** What the client sends, whole. */
  readonly text: string;
  /** The client goes away, this long after it sent. */
  readonly hangsUpAfterMs?: number;
  /** How Heddle's access log begins: status and flags. */
  readonly logs: string;
}

export function get(path: string, ...fields: readonly string[]): string {
  return message("GET", path, "", fields);
}

export function post(path: string, body: string, ...fields: readonly string[]): string {
  return message("POST", path, body, [`content-length: ${body.length}`, ...fields]);
}

export function message(
  method: string,
  path: string,
  ...[body, fields]: [body: string, fields: readonly string[]]
): string {
  const host = fields.some((field) => /^host:/i.test(field)) ? [] : ["Host: shop.test"];
  return `${[`${method} ${path} HTTP/1.1`, ...host, ...fields].join("\r\n")}\r\n\r\n${body}`;
}

const upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
const origin = "Origin: https://shop.test";
const grpc = "Content-Type: application/grpc";

export const scenarios: readonly Scenario[] = [
  { name: "passes a request and its answer", text: get("/app/ok?q=1", "X-One: 1"), logs: "200 -" },
  { name: "passes a body of known length", text: post("/app/ok", "hello"), logs: "200 -" },
  {
    name: "passes chunks",
    text: message("POST", "/app/ok", "5\r\nhello\r\n0\r\n\r\n", ["Transfer-Encoding: chunked"]),
    logs: "200 -",
  },
  { name: "passes an answer in chunks", text: get("/app/chunked"), logs: "200 -" },
  { name: "passes an answer up to the close", text: get("/app/until"), logs: "200 -" },
  { name: "passes 204", text: get("/app/no-content"), logs: "204 -" },
  { name: "passes 304", text: get("/app/not-modified"), logs: "304 -" },
  { name: "passes HEAD", text: message("HEAD", "/app/head", "", []), logs: "200 -" },
  { name: "passes an error", text: get("/app/error"), logs: "500 -" },
  { name: "passes a redirect of the application", text: get("/app/moved"), logs: "302 -" },
  { name: "passes an unknown status", text: get("/app/odd"), logs: "299 -" },
  { name: "edits the answer's headers", text: get("/app/headers"), logs: "200 -" },
  { name: "passes OPTIONS", text: message("OPTIONS", "/app/ok", "", []), logs: "200 -" },
  { name: "passes an unknown method", text: message("PURGE", "/app/ok", "", []), logs: "200 -" },
  { name: "keeps its connection when the upstream closes", text: get("/app/close"), logs: "200 -" },
  { name: "closes when the client asks", text: get("/app/ok", "Connection: close"), logs: "200 -" },
  {
    name: "takes nominated and hop-by-hop fields away",
    text: get("/app/ok", "Connection: X-Hop", "X-Hop: 1", "Keep-Alive: 5", "TE: trailers, deflate"),
    logs: "200 -",
  },
  {
    name: "joins what arrives twice",
    text: get("/app/ok", "X-A: 1", "X-A: 2", "Cookie: a=1", "Cookie: b=2"),
    logs: "200 -",
  },
  {
    name: "passes absolute targets",
    text: get("http://other.test/app/ok?x=1"),
    logs: "200 -",
  },

  { name: "says NR without a host", text: get("/app", "Host: nowhere.test"), logs: "404 NR" },
  { name: "says NR without a route", text: get("/not-here"), logs: "404 NR" },
  { name: "says NR to gRPC", text: post("/not-here", "", grpc), logs: "200 NR" },
  { name: "says NC without a cluster", text: get("/missing"), logs: "503 NC" },
  { name: "says NC with the status that is wanted", text: get("/gone-cluster"), logs: "404 NC" },
  { name: "says NC with status 500", text: get("/bad-cluster"), logs: "500 NC" },
  {
    name: "takes the cluster from a header",
    text: get("/by-header/ok", "X-Cluster: app"),
    logs: "200 -",
  },
  { name: "says NC to a header without cluster", text: get("/by-header/ok"), logs: "503 NC" },
  { name: "says UH without endpoints", text: get("/empty"), logs: "503 UH" },
  { name: "says UH to gRPC", text: post("/empty", "", grpc), logs: "200 UH" },
  { name: "says UF when nobody listens", text: get("/refused"), logs: "503 UF" },
  { name: "says URX,UF after retries", text: get("/retry-refused"), logs: "503 URX,UF" },
  { name: "says UF to gRPC", text: post("/refused", "", grpc), logs: "200 UF" },
  { name: "says UO over the limit of connections", text: get("/no-connections"), logs: "503 UO" },
  { name: "says UO over the limit of requests", text: get("/no-requests"), logs: "503 UO" },
  {
    name: "says UO over the limit of retries",
    text: get("/no-retries/unavailable"),
    logs: "503 UO",
  },
  { name: "says UC when the upstream closes", text: get("/app/gone"), logs: "503 UC" },
  { name: "says UC when the upstream resets", text: get("/app/reset"), logs: "503 UC" },
  { name: "says UPE when an answer breaks off", text: get("/app/broken"), logs: "200 UPE" },
  { name: "says UPE when chunks break off", text: get("/app/broken-chunks"), logs: "200 UPE" },
  { name: "says UPE to what is not HTTP", text: get("/app/garbage"), logs: "502 UPE" },
  { name: "says UPE to an ambiguous answer", text: get("/app/two-lengths"), logs: "502 UPE" },
  {
    name: "says UPE to an upgrade that nobody asked for",
    text: get("/app/unasked"),
    logs: "502 UPE",
  },
  { name: "says UT after the route's timeout", text: get("/timeout/slow"), logs: "504 UT" },
  { name: "says UT to gRPC", text: post("/timeout/slow", "", grpc), logs: "200 UT" },
  { name: "waits where the route has no timeout", text: get("/no-timeout/ok"), logs: "200 -" },
  { name: "says URX,UT after its tries", text: get("/per-try/silent"), logs: "504 URX,UT" },
  { name: "says SI when an answer stalls", text: get("/app/stalls"), logs: "200 SI" },
  { name: "says SI when no answer comes", text: get("/app/silent"), logs: "504 SI" },
  { name: "says SI after the route's idle time", text: get("/route-idle/silent"), logs: "504 SI" },
  { name: "ends tries that idle", text: get("/idle-try/silent"), logs: "504 URX,UT" },
  { name: "ends at the route's duration", text: get("/duration/silent"), logs: "504 -" },
  {
    name: "ends gRPC at its own deadline",
    text: post("/grpc-timeout/silent", "", grpc, "grpc-timeout: 100m"),
    logs: "200 -",
  },
  {
    name: "says DC when the client goes",
    text: get("/app/silent"),
    hangsUpAfterMs: 80,
    logs: "0 DC",
  },

  { name: "retries what failed once", text: get("/retry-5xx/flaky"), logs: "200 -" },
  { name: "retries up to the limit", text: get("/retry-5xx/unavailable"), logs: "503 URX" },
  {
    name: "retries an overloaded upstream",
    text: get("/retry-5xx/overloaded"),
    logs: "503 URX",
  },
  { name: "retries a POST with its body", text: post("/retry-5xx/flaky", "again"), logs: "200 -" },
  { name: "retries resets", text: get("/retry-reset/gone"), logs: "503 URX,UC" },
  { name: "retries chosen statuses", text: get("/retry-codes/conflict"), logs: "409 URX" },
  { name: "retries conflicts", text: get("/retry-4xx/conflict"), logs: "409 URX" },
  { name: "leaves other errors alone", text: get("/retry-gateway/error"), logs: "500 -" },
  {
    name: "retries as a trusted caller asks",
    text: get(
      "/app/unavailable",
      "x-envoy-retry-on: 5xx",
      "x-envoy-max-retries: 1",
      "x-forwarded-for: 127.0.0.1",
    ),
    logs: "503 URX",
  },
  {
    name: "retries no stranger's way",
    door: "edge",
    text: get("/app/unavailable", "x-envoy-retry-on: 5xx", "X-Forwarded-For: 203.0.113.1"),
    logs: "503 -",
  },
  {
    name: "times out as a trusted caller asks",
    text: get("/app/slow", "x-envoy-upstream-rq-timeout-ms: 100", "x-forwarded-for: 127.0.0.1"),
    logs: "504 UT",
  },
  { name: "counts attempts", text: get("/flaky", "Host: counted.test"), logs: "200 -" },
  {
    name: "counts attempts, whatever the client says of them",
    text: get("/app/ok", "Host: counted.test", "X-Envoy-Attempt-Count: 77"),
    logs: "200 -",
  },
  {
    name: "takes what only proxies say from nobody",
    text: get(
      "/app/ok",
      "X-Envoy-Original-Dst-Host: 127.0.0.1:15000",
      "X-Envoy-Internal: true",
      "X-Envoy-External-Address: 192.0.2.1",
      "X-Envoy-Expected-Rq-Timeout-Ms: 1",
      "X-Envoy-Upstream-Alt-Stat-Name: made-up",
      "X-Envoy-Decorator-Operation: made-up",
      "X-Envoy-Peer-Metadata: made-up",
      "X-Envoy-Peer-Metadata-Id: made-up",
      "X-Envoy-Original-Path: /made-up",
      "X-Envoy-Is-Timeout-Retry: true",
      "X-Forwarded-Client-Cert: URI=spiffe://cluster.local/ns/made/sa/up",
      "X-Request-Id: ../made/up",
    ),
    logs: "200 -",
  },

  { name: "injects an abort", text: get("/fault/abort"), logs: "418 FI" },
  { name: "injects a gRPC status", text: post("/fault/grpc", "", grpc), logs: "200 FI" },
  { name: "injects a delay", text: get("/fault/delay/ok"), logs: "200 DI" },
  { name: "injects both", text: get("/fault/both/ok"), logs: "503 DI,FI" },
  {
    name: "injects where a header asks",
    text: get("/fault/header/ok", "X-Fault: 1"),
    logs: "400 FI",
  },
  ...(
    [
      ["the status that is asked for", "x-envoy-fault-abort-request: 418", "418 FI"],
      ["no status that is none", "x-envoy-fault-abort-request: 199", "200 -"],
      ["no status beyond the last", "x-envoy-fault-abort-request: 600", "200 -"],
      ["no status in words", "x-envoy-fault-abort-request: 4xx", "200 -"],
      ["the gRPC status that is asked for", "x-envoy-fault-abort-grpc-request: 5", "200 FI"],
      ["a gRPC status that has no name", "x-envoy-fault-abort-grpc-request: 77", "200 FI"],
      ["the delay that is asked for", "x-envoy-fault-delay-request: 30", "200 DI"],
      ["no delay of nothing", "x-envoy-fault-delay-request: 0", "200 -"],
      ["no delay below zero", "x-envoy-fault-delay-request: -5", "200 -"],
      ["nothing where nobody asks", "x-other: 1", "200 -"],
    ] as const
  ).map(([what, field, logs]) => ({
    name: `injects ${what}`,
    text: get("/fault/asked/ok", field),
    logs,
  })),
  {
    name: "injects both as asked",
    text: get(
      "/fault/asked/ok",
      "x-envoy-fault-delay-request: 30",
      "x-envoy-fault-abort-request: 503",
      "x-envoy-fault-abort-grpc-request: 5",
    ),
    logs: "503 DI,FI",
  },
  {
    name: "injects less often where less is asked for",
    text: get(
      "/fault/asked/ok",
      "x-envoy-fault-abort-request: 503",
      "x-envoy-fault-abort-request-percentage: 0",
      "x-envoy-fault-delay-request: 30",
      "x-envoy-fault-delay-request-percentage: 0",
    ),
    logs: "200 -",
  },
  {
    name: "injects no more often than it may",
    text: get(
      "/fault/rare/ok",
      "x-envoy-fault-abort-request: 503",
      "x-envoy-fault-abort-request-percentage: 100",
    ),
    logs: "200 -",
  },
  {
    name: "injects for nodes that are listed",
    text: get("/fault/node/ok", "x-envoy-downstream-service-node: two"),
    logs: "400 FI",
  },
  {
    name: "injects nothing for other nodes",
    text: get("/fault/node/ok", "x-envoy-downstream-service-node: three"),
    logs: "200 -",
  },
  { name: "injects nothing for no node", text: get("/fault/node/ok"), logs: "200 -" },
  { name: "injects nothing without the header", text: get("/fault/header/ok"), logs: "200 -" },
  { name: "denies by policy", text: get("/denied/x"), logs: "403 -" },
  { name: "denies gRPC by policy", text: post("/denied/x", "", grpc), logs: "200 -" },
  { name: "denies by policy after normalising", text: get("/app/..//%64enied"), logs: "403 -" },
  {
    name: "allows where a route switches a filter off",
    text: get("/denied/not/ok"),
    logs: "200 -",
  },
  {
    name: "denies a client that an earlier proxy names",
    text: get("/by-address/ok", "X-Forwarded-For: 203.0.113.7"),
    logs: "403 -",
  },
  {
    name: "denies a client behind one trusted hop",
    door: "behind",
    text: get("/by-address/ok", "X-Forwarded-For: 203.0.113.7, 198.51.100.2"),
    logs: "404 NR",
  },
  {
    name: "believes no forwarded address at the edge",
    door: "edge",
    text: get("/by-address/ok", "X-Forwarded-For: 203.0.113.7"),
    logs: "404 NR",
  },
  {
    name: "answers a preflight",
    text: message("OPTIONS", "/cors/ok", "", [origin, "Access-Control-Request-Method: PUT"]),
    logs: "200 -",
  },
  {
    name: "passes a preflight of a stranger",
    text: message("OPTIONS", "/cors/ok", "", [
      "Origin: https://evil.test",
      "Access-Control-Request-Method: PUT",
    ]),
    logs: "200 -",
  },
  {
    name: "answers a preflight of a stranger where it may not pass",
    text: message("OPTIONS", "/strict-cors/ok", "", [
      "Origin: https://evil.test",
      "Access-Control-Request-Method: PUT",
    ]),
    logs: "200 -",
  },
  { name: "marks an answer to another origin", text: get("/cors/ok", origin), logs: "200 -" },

  { name: "redirects", text: get("/redirect/x?q=1"), logs: "303 -" },
  { name: "redirects to another host", text: get("/redirect-host?q=1"), logs: "301 -" },
  { name: "redirects to TLS", text: get("/app/ok?q=1", "Host: tls.test"), logs: "301 -" },
  { name: "answers directly", text: get("/direct"), logs: "299 -" },
  { name: "answers HEAD directly", text: message("HEAD", "/direct", "", []), logs: "299 -" },
  { name: "answers 204 directly", text: get("/direct-204"), logs: "204 -" },
  { name: "answers nothing directly", text: get("/direct-empty"), logs: "200 -" },
  { name: "rewrites a path", text: get("/rewrite/ok?q=1"), logs: "200 -" },
  { name: "rewrites a host", text: get("/host-literal/ok"), logs: "200 -" },
  {
    name: "rewrites a host from a header",
    text: get("/host-header/ok", "X-Host: from.test"),
    logs: "200 -",
  },
  { name: "keeps a host without the header", text: get("/host-header/ok"), logs: "200 -" },
  { name: "rewrites a host to the endpoint's", text: get("/host-auto/ok"), logs: "200 -" },
  { name: "rewrites a host from the path", text: get("/host-path/abc/ok"), logs: "200 -" },
  { name: "decorates an operation", text: get("/decorated/ok"), logs: "200 -" },
  {
    name: "fills header formats",
    text: get("/formats/ok", "Host: headers.test", "X-Forwarded-For: 203.0.113.9"),
    logs: "200 -",
  },
  {
    name: "acts on headers in order",
    text: get(
      "/actions/headers",
      "Host: headers.test",
      "X-Gone: 1",
      "X-Set: old",
      "X-Add: old",
      "X-Absent: old",
      "X-Exists: old",
    ),
    logs: "200 -",
  },

  {
    name: "refuses a method that is none",
    text: "G@T /app HTTP/1.1\r\nhost: a\r\n\r\n",
    logs: "400 DPE",
  },
  { name: "refuses a request without host", text: "GET /app/ok HTTP/1.1\r\n\r\n", logs: "400 -" },
  { name: "refuses HTTP/1.0", text: "GET /app/ok HTTP/1.0\r\nhost: a\r\n\r\n", logs: "426 DPE" },
  { name: "refuses an escaped slash", text: get("/app/a%2fok"), logs: "400 -" },
  {
    name: "refuses a length and chunks",
    text: "POST /app/ok HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    logs: "400 DPE",
  },
  {
    name: "refuses an unknown coding",
    text: "POST /app/ok HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n",
    logs: "501 DPE",
  },
  {
    name: "refuses a broken length",
    text: "POST /app/ok HTTP/1.1\r\nhost: a\r\ncontent-length: 3x\r\n\r\nabc",
    logs: "400 DPE",
  },
  {
    name: "refuses broken chunks",
    text: "POST /app/ok HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    logs: "400 DPE",
  },
  {
    name: "refuses oversize heads",
    text: get("/app/ok", `X-Big: ${"x".repeat(70_000)}`),
    logs: "431 DPE",
  },
  {
    name: "refuses too many fields",
    door: "behind",
    text: get("/app/ok", ...Array.from({ length: 20 }, (_, i) => `X-${i}: 1`)),
    logs: "431 DPE",
  },
  {
    name: "refuses heads that take too long",
    text: "GET /app/ok HTTP/1.1\r\nhost: a",
    logs: "408 -",
  },
  {
    name: "refuses bodies that take too long",
    text: "POST /app/silent HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
    logs: "408 -",
  },
  {
    name: "refuses underscores at the edge",
    door: "edge",
    text: get("/app/ok", "X_A: 1"),
    logs: "400 DPE",
  },
  {
    name: "drops underscores where told",
    door: "behind",
    text: get("/app/ok", "X_A: 1"),
    logs: "200 -",
  },

  {
    name: "says 100 itself",
    text: post("/app/ok", "hello", "Expect: 100-continue"),
    logs: "200 -",
  },
  {
    name: "leaves 100 to the upstream",
    door: "behind",
    text: post("/app/continues", "hello", "Expect: 100-continue"),
    logs: "200 -",
  },
  { name: "drops early hints", text: get("/app/hints"), logs: "200 -" },
  {
    name: "switches protocols",
    text: get("/app/switches", ...upgrade),
    hangsUpAfterMs: 80,
    logs: "101 DC",
  },
  { name: "passes a refused switch", text: get("/app/refuses", ...upgrade), logs: "403 -" },
  {
    name: "refuses an upgrade that a route forbids",
    text: get("/no-websocket/switches", ...upgrade),
    logs: "403 -",
  },
  {
    name: "refuses an upgrade to something else",
    text: get("/app/ok", "Connection: Upgrade", "Upgrade: other"),
    logs: "403 -",
  },
  {
    name: "tunnels CONNECT",
    text: "CONNECT app.test:80 HTTP/1.1\r\nHost: app.test:80\r\n\r\n",
    hangsUpAfterMs: 80,
    logs: "200 DC",
  },
  {
    name: "refuses CONNECT without a route",
    text: "CONNECT other.test:80 HTTP/1.1\r\nHost: other.test:80\r\n\r\n",
    logs: "404 NR",
  },

  {
    name: "says where a request came from at the edge",
    door: "edge",
    text: get(
      "/app/ok",
      "Host: shop.test:8080",
      "X-Forwarded-For: 203.0.113.7",
      "X-Forwarded-Proto: https",
      "X-Request-Id: mine",
      "X-Envoy-Internal: true",
      "X-Envoy-Expected-Rq-Timeout-Ms: 1",
      "X-Envoy-Attempt-Count: 7",
      "X-Forwarded-Client-Cert: forged",
    ),
    logs: "200 -",
  },
  {
    name: "says where a request came from behind a hop",
    door: "behind",
    text: get(
      "/app/ok",
      "X-Forwarded-For: 203.0.113.7",
      "X-Forwarded-Proto: https",
      "X-Request-Id: mine",
      "Server: x",
    ),
    logs: "200 -",
  },
  {
    name: "keeps what the mesh says about a request",
    text: get(
      "/app/headers",
      "X-Forwarded-For: 203.0.113.7, 198.51.100.2",
      "X-Forwarded-Proto: https",
      "X-Request-Id: mine",
      "X-Forwarded-Client-Cert: forged",
    ),
    logs: "200 -",
  },
  {
    name: "serves HTTP/1.0 where told",
    door: "edge",
    text: "GET /app/chunked HTTP/1.0\r\n\r\n",
    logs: "200 -",
  },
  {
    name: "keeps HTTP/1.0 alive where asked",
    door: "edge",
    text: "GET /app/ok HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    logs: "200 -",
  },
  {
    name: "redirects an escaped slash at the edge",
    door: "edge",
    text: get("/app/a%2Fok?q=1"),
    logs: "307 -",
  },
  {
    name: "reads an escaped slash where told",
    door: "behind",
    text: get("/app/a%5cok"),
    logs: "200 -",
  },
  {
    name: "closes after the last request of a connection",
    door: "behind",
    text: get("/app/ok"),
    logs: "200 -",
  },
  {
    name: "leaves the server's name where told",
    door: "behind",
    text: get("/app/headers"),
    logs: "200 -",
  },
  {
    name: "passes trailers where told",
    door: "behind",
    text: message("POST", "/app/ok", "1\r\na\r\n0\r\nX-T: 1\r\n\r\n", [
      "Transfer-Encoding: chunked",
      "Trailer: X-T",
    ]),
    logs: "200 -",
  },
  { name: "answers gRPC directly", text: post("/direct", "", grpc), logs: "200 -" },
  { name: "redirects gRPC", text: post("/redirect/x", "", grpc), logs: "200 -" },
  {
    name: "edits headers of its own answers",
    text: get("/refused", "Host: headers.test"),
    logs: "503 UF",
  },
  {
    name: "edits headers of a filter's answers",
    text: get("/denied/x", "Host: headers.test"),
    logs: "403 -",
  },
  {
    name: "edits headers of its answers without route",
    text: get("/nowhere", "Host: headers.test"),
    logs: "404 NR",
  },
  {
    name: "starts a trace and tells the operation",
    door: "client",
    text: get("/decorated/ok"),
    logs: "200 -",
  },
  {
    name: "tells the operation in its answer",
    door: "server",
    text: get("/decorated/ok"),
    logs: "200 -",
  },
  {
    name: "takes the operation it is told",
    door: "server",
    text: get(
      "/decorated/ok",
      "X-Envoy-Decorator-Operation: told",
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    ),
    logs: "200 -",
  },
  {
    name: "takes the operation of an answer",
    door: "client",
    text: get("/decorated/decorates"),
    logs: "200 -",
  },
  {
    name: "keeps an operation to itself as client",
    door: "client",
    text: get("/quiet/ok"),
    logs: "200 -",
  },
  {
    name: "keeps an operation to itself as server",
    door: "server",
    text: get("/quiet/ok"),
    logs: "200 -",
  },
  {
    name: "goes on with a trace",
    door: "client",
    text: get(
      "/app/ok",
      "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
      "tracestate: a=1",
      "b3: 0",
    ),
    logs: "200 -",
  },
  { name: "passes DELETE", text: message("DELETE", "/app/ok", "", []), logs: "200 -" },
  { name: "passes PUT without a length", text: message("PUT", "/app/ok", "", []), logs: "200 -" },
  {
    name: "keeps an original path from a stranger",
    text: get("/app/ok", "X-Envoy-Original-Path: /forged", "X-Envoy-Original-Host: forged.test"),
    logs: "200 -",
  },
  {
    name: "takes an original path away at the edge",
    door: "edge",
    text: get("/app/ok", "X-Envoy-Original-Path: /forged", "X-Envoy-Decorator-Operation: x"),
    logs: "200 -",
  },
  { name: "passes a gRPC status", text: post("/app/grpc", "", grpc), logs: "200 -" },
];
