/**
 * Which tests hold each group of the list of things that proxies have got wrong with HTTP/1.1, HTTP/2,
 * gRPC, WebSocket, TLS, the PROXY protocol and paths. A test looks that all of them are there.
 */
export interface ReferenceGroup {
  readonly group: string;
  /** Probes and answers run against Heddle on both backends and against Envoy. */
  readonly probes: readonly string[];
  /** `file: a part of the test's title`. Scenarios run against both, too. */
  readonly tests: readonly string[];
}

const proxy = "src/proxy/http.test.ts";
const scenarios = "test/conformance/proxy/scenarios.ts";
const limits = "test/conformance/http1/limits.test.ts";
const hello = "src/wire/first-bytes.test.ts";
const listener = "src/proxy/listener.test.ts";
const http2 = "test/conformance/http2";
const attacks = "test/conformance/http2/attacks.ts";
const policies = "test/e2e/security-policies.test.ts";

export const referenceGroups: readonly ReferenceGroup[] = [
  {
    group: "1 length, coding and bytes that must not be there",
    probes: [
      ..."SMUG-CL-TE-BOTH SMUG-TE-NOT-FINAL-CHUNKED SMUG-TE-DOUBLE-CHUNKED SMUG-TE-IDENTITY".split(
        " ",
      ),
      ..."SMUG-TE-XCHUNKED SMUG-TE-HTTP10 SMUG-TE-EMPTY-VALUE SMUG-TE-VTAB SMUG-TE-FORMFEED".split(
        " ",
      ),
      ..."SMUG-TE-NULL SMUG-TE-TRAILING-COMMA SMUG-TE-DUPLICATE-HEADERS SMUG-CL-LEADING-ZEROS".split(
        " ",
      ),
      ..."RFC9112-6.1-CL-PLUS-SIGN SMUG-CL-NEGATIVE-ZERO SMUG-CL-HEX-PREFIX SMUG-CL-COMMA-SAME".split(
        " ",
      ),
      ..."SMUG-CL-INTERNAL-SPACE MAL-CL-OVERFLOW SMUG-DUPLICATE-CL MAL-CL-EMPTY".split(" "),
      ..."RFC9110-5.6.2-SP-BEFORE-COLON RFC9112-5.1-OBS-FOLD RFC9112-2.2-BARE-LF-HEADER".split(" "),
      ..."SMUG-BARE-CR-HEADER-VALUE MAL-NUL-IN-HEADER-VALUE MAL-CONTROL-CHARS-HEADER".split(" "),
      ..."RFC9112-5-EMPTY-HEADER-NAME MAL-LONG-HEADER-NAME R-CL-TE R-TE-NOT-FINAL R-TE-HTTP10".split(
        " ",
      ),
      ..."R-TE-TWICE R-TE-VTAB R-TWO-LENGTHS R-LENGTH-PLUS R-LENGTH-LIST R-LENGTH-EMPTY".split(" "),
      ..."R-LENGTH-OVERFLOW R-LENGTH-SPACE R-NUL R-CONTROL R-EMPTY-NAME R-SP-BEFORE-COLON".split(
        " ",
      ),
    ],
    tests: ["test/conformance/readers/readers.test.ts: one request stays one request"],
  },
  {
    group: "2 chunks, their extensions, trailers",
    probes: [
      ..."SMUG-CHUNK-SIZE-PLUS SMUG-CHUNK-UNDERSCORE SMUG-CHUNK-HEX-PREFIX SMUG-CHUNK-LEADING-SP".split(
        " ",
      ),
      ..."SMUG-CHUNK-SIZE-TRAILING-OWS MAL-CHUNK-SIZE-OVERFLOW SMUG-CHUNK-MISSING-TRAILING-CRLF".split(
        " ",
      ),
      ..."SMUG-CHUNK-LF-TERM SMUG-CHUNK-EXT-LF SMUG-CHUNK-EXT-CR CHUNK-EXT-QUOTED-NEWLINE".split(
        " ",
      ),
      ..."MAL-CHUNK-EXT-64K SMUG-TRAILER-CL SMUG-TRAILER-TE SMUG-TRAILER-HOST SMUG-TRAILER-AUTH".split(
        " ",
      ),
      ..."R-CHUNK-PLUS R-CHUNK-HEX-PREFIX R-CHUNK-OVERFLOW R-CHUNK-NO-CRLF R-CHUNK-SHORT".split(
        " ",
      ),
    ],
    tests: ["src/wire/http1.test.ts: BodyReader keeps trailers apart and bounds extensions"],
  },
  {
    group: "3 what llhttp and undici have had",
    probes:
      "RFC9112-3-CR-ONLY-LINE-ENDING CRLF-CR-X NORM-SP-BEFORE-COLON-CL SMUG-CL-UNDERSCORE".split(
        " ",
      ),
    tests: ["test/conformance/http1/splits.test.ts: requests come to the same"],
  },
  {
    group: "4 early bodies, upgrades, answers out of step",
    probes: [
      ..."UPGRADE-NOT-ALLOWED-EARLY-BYTES CONNECT-WITH-LENGTH COMP-UPGRADE-POST".split(" "),
      ..."SMUG-GET-CL-BODY-DESYNC SMUG-OPTIONS-CL-BODY-DESYNC SMUG-HEAD-CL-BODY".split(" "),
      ..."SMUG-CL0-BODY-POISON SMUG-EXPECT-100-CL-DESYNC R-100-FIRST R-103-FIRST R-SURPLUS".split(
        " ",
      ),
      ..."R-SURPLUS-AFTER-CHUNKS R-HEAD-WITH-BODY R-204-WITH-BODY R-304-WITH-BODY R-UNTIL-CLOSE".split(
        " ",
      ),
    ],
    tests: [
      `${proxy}: holds early bytes of an upgrade until 101`,
      `${proxy}: goes on in HTTP when the upstream does not switch`,
      `${proxy}: throws away a connection that says more than was asked`,
      `${proxy}: answers early and closes when the request never ended`,
      `${scenarios}: says UPE to an upgrade that nobody asked for`,
    ],
  },
  {
    group: "5 request lines and hosts",
    probes: [
      ..."SMUG-ABSOLUTE-URI-HOST-MISMATCH AUTHORITY-FORM-WITH-GET COMP-ASTERISK-WITH-GET".split(
        " ",
      ),
      ..."RFC9112-3.2-FRAGMENT-IN-TARGET ABSOLUTE-USERINFO COMP-REQUEST-LINE-TAB".split(" "),
      ..."RFC9112-2.3-HTTP09-REQUEST COMP-HTTP12-VERSION COMP-METHOD-CASE MAL-LONG-METHOD".split(
        " ",
      ),
      ..."MAL-NON-ASCII-URL RFC9110-5.4-DUPLICATE-HOST RFC9112-7.1-MISSING-HOST".split(" "),
      ..."COMP-HTTP10-NO-HOST COMP-LEADING-CRLF".split(" "),
    ],
    tests: [`${scenarios}: serves HTTP/1.0 where told`],
  },
  {
    group: "6 limits, pipelining, hop-by-hop fields",
    probes: "MAL-LONG-HEADER-VALUE MAL-MANY-HEADERS MAL-LONG-URL SMUG-PIPELINE-SAFE".split(" "),
    tests: [
      `${limits}: heads that come byte by byte`,
      `${limits}: bodies that come byte by byte`,
      `${limits}: connections that say nothing`,
      `${limits}: answers without end, unread`,
      `${limits}: requests without end, answers unread`,
      `${scenarios}: takes nominated and hop-by-hop fields away`,
      `${scenarios}: closes after the last request of a connection`,
      `${proxy}: answers pipelined requests in order`,
      `${proxy}: sees a client go, and leaves the upstream`,
    ],
  },
  {
    group: "7 HTTP/2's rules",
    probes: [],
    tests: [
      `${http2}/h2spec.test.ts: h2spec finds nothing wrong`,
      `${http2}/drain.test.ts: what is in flight ends, what begins meanwhile is served`,
      `${http2}/tunnels.test.ts: WebSocket passes through a stream`,
      `${attacks}: sends trailers that end nothing (CVE-2026-73513)`,
      `${attacks}: lets the connection's window overflow`,
      `${attacks}: uses up the numbers of streams`,
      `${attacks}: promises pushes`,
      `${attacks}: sends frames that nobody knows (ORIGIN)`,
      `${attacks}: sends frames larger than they may be`,
      `${attacks}: pads its content`,
      "src/wire/http2-windows.test.ts: gives a megabyte of small frames back in a frame for each half window",
    ],
  },
  {
    group: "8 floods of HTTP/2",
    probes: [],
    tests: [
      `${attacks}: resets its streams at once (CVE-2023-44487)`,
      `${attacks}: begins more streams than it may`,
      `${attacks}: sends a head in pieces without end (CVE-2024-27919)`,
      `${attacks}: asks PING without reading (CVE-2019-9512)`,
      `${attacks}: sends SETTINGS without reading (CVE-2019-9515)`,
      `${attacks}: asks and does not read (CVE-2019-9517)`,
      `${attacks}: sends frames without content (CVE-2019-9518)`,
      `${attacks}: sends fields without name and value (CVE-2019-9516)`,
      `${attacks}: sends PRIORITY without end (CVE-2019-9513)`,
      `${attacks}: sends WINDOW_UPDATE without end`,
      `${attacks}: resets streams that were never begun`,
      `${attacks}: resets streams that are over, again and again`,
      `${attacks}: takes its answers byte by byte (CVE-2019-9511)`,
      `${attacks}: sends its content byte by byte (data dribble)`,
      `${attacks}: says farewell and resets (CVE-2023-35945)`,
    ],
  },
  {
    group: "9 bombs of heads",
    probes: [],
    tests: [
      `${attacks}: a large entry of the table again and again (CVE-2016-6581)`,
      `${attacks}: more fields than a head may have`,
      `${attacks}: more crumbs of a cookie than a head may have (CVE-2026-47774)`,
      `${attacks}: gives no window for as many answers as it may begin`,
      "src/wire/hpack-dynamic-table.prop.test.ts: holds what a list of the same bound holds",
    ],
  },
  {
    group: "10 HTTP/2 that becomes HTTP/1.1",
    probes: [],
    tests: [
      `${http2}/scenarios.ts: refuses less content than promised`,
      `${http2}/scenarios.ts: refuses an authority with a space`,
      `${http2}/scenarios.ts: refuses a path with a line end`,
      `${http2}/scenarios.ts: refuses an empty path`,
      `${http2}/scenarios.ts: joins cookies`,
    ],
  },
  {
    group: "11 gRPC",
    probes: [],
    tests: [
      "test/conformance/grpc/interop.test.ts: gRPC's interoperation test ",
      "test/conformance/grpc/calls.test.ts: a call that fails at once",
      "test/conformance/grpc/calls.test.ts: a server is told what is left of a deadline",
      "test/conformance/grpc/calls.test.ts: a stream of 100 messages in both directions",
      "test/conformance/grpc/local-replies.test.ts: a caller's deadline",
      "test/conformance/grpc/web.test.ts: gRPC-Web: ",
      "test/conformance/grpc/large.test.ts: a message of 9 MB and 40 KB of metadata pass two proxies",
      "test/conformance/grpc/negative.test.ts: gRPC's negative test ",
      `${http2}/scenarios.ts: te: trailers`,
    ],
  },
  {
    group: "12 WebSocket",
    probes: [],
    tests: [
      `${proxy}: holds early bytes of an upgrade until 101`,
      `${proxy}: goes on in HTTP when the upstream does not switch`,
      `${http2}/tunnels.test.ts: WebSocket passes through a stream`,
      `${http2}/upstream-tunnels.test.ts: silence ends tunnels after the stream's idle time`,
    ],
  },
  {
    group: "13 TLS",
    probes: [],
    tests: [
      `${hello}: whole, cut at every byte, and fragmented`,
      `${hello}: takes one name`,
      `${hello}: never asks for more than its limit`,
      "src/net/tls/peer-names.test.ts: refuses a second URI beside a SPIFFE id",
      "src/wire/certificate-names.test.ts: a name that is no plain text",
      "test/conformance/io/tls.test.ts: handshakes in pieces of one byte",
      "test/conformance/proxy/tls-resumption.test.ts: a session is offered",
      "src/net/tls-resumption.test.ts: a client that may no longer come does not come by its session",
      `${listener}: tells TLS from plaintext and verifies clients`,
    ],
  },
  {
    group: "14 the PROXY protocol",
    probes: [],
    tests: [
      "test/conformance/proxy/proxy-protocol.test.ts: PROXY header: ",
      "test/conformance/proxy/proxy-values.test.ts: a PROXY header's values become metadata: ",
      `${hello}: refuses malformed headers and passes what is none`,
      `${hello}: reads version 2, bounded by its length`,
      `${listener}: believes a PROXY header only from whom its chain names`,
    ],
  },
  {
    group: "15 spellings of paths, hosts and headers around policies",
    probes: "MAL-URL-BACKSLASH MAL-URL-PERCENT-NULL MAL-URL-OVERLONG-UTF8".split(" "),
    tests: [
      `${policies}: no spelling of a path gets around a DENY`,
      `${scenarios}: denies by policy after normalising`,
      `${scenarios}: believes no forwarded address at the edge`,
      "test/conformance/planes/policies.test.ts: a port or the root's dot gets around nothing",
      "src/proxy/http/path.test.ts: climbs at ..;",
      "src/proxy/engine/regex.test.ts: reads bytes beyond ASCII as UTF-8",
      "test/conformance/proxy/regex.test.ts: stays linear where backtracking would explode",
      "src/proxy/http/client-cert.test.ts: takes a forged client certificate away",
    ],
  },
  {
    group: "16 local effects",
    probes: [],
    tests: [
      `${scenarios}: refuses CONNECT without a route`,
      "src/proxy/http/filters.test.ts: a client that leaves during a delay leaves nothing behind",
      "src/proxy/admin.test.ts: give no private key away",
      `${limits}: connections beyond the limit`,
    ],
  },
];
