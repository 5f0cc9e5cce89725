/** Requests for endpoints that speak HTTP/2, and what endpoints say that keep no rule. */
import { block, endHeaders, endStream, type Fields, frame, frameBytes } from "./raw-client.ts";
import type { Question } from "./upstream-clients.ts";
import type { Script } from "./upstream-endpoints.ts";

const ok: Fields = [[":status", "200"]];

/** An answer of this head alone. */
function head(fields: Fields, flags: number = endStream | endHeaders): Script {
  return (say, id) => say(frameBytes(frame.headers, flags, id, block(fields)));
}

function content(
  head_: Fields,
  ...pieces: readonly (readonly [text: string, flags: number])[]
): Script {
  return (say, id) => {
    say(frameBytes(frame.headers, endHeaders, id, block(head_)));
    for (const [text, flags] of pieces) {
      say(frameBytes(frame.data, flags, id, Buffer.from(text)));
    }
  };
}

const goAway = 7;

function uint32(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [at, value] of values.entries()) bytes.writeUInt32BE(value, at * 4);
  return bytes;
}

const served: readonly Question[] = [
  { name: "passes an answer without length", path: "/" },
  { name: "passes an answer with its length", path: "/length" },
  { name: "passes an answer that is its head alone", path: "/empty" },
  { name: "passes an answer that ends in an empty frame", path: "/empty-data" },
  { name: "passes 204", path: "/no-content" },
  { name: "passes 304", path: "/not-modified" },
  { name: "passes HEAD", method: "HEAD", path: "/length" },
  { name: "passes HEAD of nothing", method: "HEAD", path: "/empty" },
  { name: "passes fields that stand twice", path: "/cookies" },
  { name: "passes much", path: "/large" },
  { name: "passes content", method: "POST", path: "/", body: "abc" },
  { name: "passes much content", method: "POST", path: "/", body: 300_000 },
  { name: "passes POST of nothing", method: "POST", path: "/" },
  { name: "passes DELETE", method: "DELETE", path: "/a" },
  { name: "passes a query", path: "/a?b=c&d" },
  { name: "passes an answer's trailers", path: "/trailers" },
  {
    name: "passes trailers of a request",
    method: "POST",
    path: "/",
    body: "abc",
    trailers: { "x-after": "1" },
  },
  { name: "passes interim answers", path: "/hints" },
  { name: "asks as its client does", path: "/either" },
  { name: "asks as its client does, with content", method: "POST", path: "/either", body: "abc" },
  { name: "passes cookies", path: "/", headers: { cookie: "a=1; b=2" } },
  { name: "passes te: trailers", path: "/", headers: { te: "trailers" } },
  {
    name: "passes gRPC",
    method: "POST",
    path: "/grpc",
    headers: { "content-type": "application/grpc", te: "trailers" },
    body: "\0\0\0\0\u0001x",
  },
  {
    name: "passes gRPC that is trailers alone",
    method: "POST",
    path: "/grpc-alone",
    headers: { "content-type": "application/grpc", te: "trailers" },
    body: "\0\0\0\0\u0001x",
  },
  { name: "passes a host of its own", path: "/", client: "http1", headers: { host: "a.example" } },
  {
    name: "takes fields of the connection away",
    path: "/",
    client: "http1",
    headers: { connection: "x-hop, keep-alive", "x-hop": "1", "keep-alive": "timeout=5" },
  },
  {
    name: "takes te away that is not trailers",
    path: "/",
    client: "http1",
    headers: { te: "gzip", connection: "te" },
  },
];

const broken: readonly Question[] = [
  {
    name: "an upgrade that nobody allows",
    client: "http1",
    path: "/",
    headers: { connection: "upgrade", upgrade: "websocket" },
  },
  { name: "an endpoint that resets", path: "/reset" },
  { name: "an endpoint that refuses", path: "/refused" },
  { name: "an endpoint that refuses, tried again", path: "/refused-retry" },
  { name: "an endpoint that resets in the middle", path: "/half" },
  { name: "an endpoint that is not there", path: "/gone" },
  {
    name: "an endpoint that resets gRPC",
    method: "POST",
    path: "/reset",
    headers: { "content-type": "application/grpc", te: "trailers" },
    body: "\0\0\0\0\u0001x",
  },
  {
    // Not one that may happen twice: those are sent again where a kept connection closes.
    name: "an endpoint that closes",
    method: "POST",
    path: "/raw",
    script: (_say, _id, socket) => socket.end(),
  },
  {
    name: "an endpoint that says farewell to the request",
    path: "/raw",
    script: (say) => say(frameBytes(goAway, 0, 0, uint32(0, 0))),
  },
  {
    name: "an endpoint that says farewell, and answers",
    path: "/raw",
    script: (say, id) => {
      say(frameBytes(goAway, 0, 0, uint32(id, 0)));
      say(frameBytes(frame.headers, endStream | endHeaders, id, block(ok)));
    },
  },
  { name: "an endpoint that says nothing", path: "/slow", script: () => {} },
];

const wrong: readonly Question[] = [
  { name: "no status", path: "/raw", script: head([["a", "b"]]) },
  { name: "a status that is none", path: "/raw", script: head([[":status", "2x0"]]) },
  { name: "two statuses", path: "/raw", script: head([...ok, ...ok]) },
  { name: "an unknown pseudo-field", path: "/raw", script: head([...ok, [":a", "b"]]) },
  { name: "a status behind fields", path: "/raw", script: head([["a", "b"], ...ok]) },
  { name: "a switch of protocols", path: "/raw", script: head([[":status", "101"]], endHeaders) },
  { name: "connection: close", path: "/raw", script: head([...ok, ["connection", "close"]]) },
  {
    name: "transfer-encoding",
    path: "/raw",
    script: head([...ok, ["transfer-encoding", "chunked"]]),
  },
  { name: "an upper-case name", path: "/raw", script: head([...ok, ["A", "b"]]) },
  { name: "a line end in a value", path: "/raw", script: head([...ok, ["a", "b\r\nc: d"]]) },
  {
    name: "two lengths",
    path: "/raw",
    script: content([...ok, ["content-length", "1"], ["content-length", "2"]], ["x", endStream]),
  },
  {
    name: "less content than promised",
    path: "/raw",
    script: content([...ok, ["content-length", "5"]], ["abc", endStream]),
  },
  {
    name: "more content than promised",
    path: "/raw",
    script: content([...ok, ["content-length", "1"]], ["abc", endStream]),
  },
  {
    name: "a promise, and no content",
    path: "/raw",
    script: head([...ok, ["content-length", "5"]]),
  },
  {
    name: "content before its head",
    path: "/raw",
    script: (say, id) => say(frameBytes(frame.data, endStream, id, Buffer.from("abc"))),
  },
  {
    name: "trailers that do not end it",
    path: "/raw",
    script: (say, id) => {
      say(frameBytes(frame.headers, endHeaders, id, block(ok)));
      say(frameBytes(frame.headers, endHeaders, id, block([["a", "b"]])));
    },
  },
];

const named = (kind: string, questions: readonly Question[]): readonly Question[] =>
  questions.map((question) => ({ ...question, name: `${kind} ${question.name}` }));

export const upstreamScenarios: readonly Question[] = [
  ...served,
  ...named("tells of", broken),
  ...named("refuses", wrong),
];
