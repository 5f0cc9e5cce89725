/** What clients of HTTP/2 send that an HTTP/1.1 server could read otherwise: requests, sound and made up. */
import { readCorpus } from "../../fuzz/corpus.ts";
import { mutate } from "../../fuzz/mutations.ts";
import { Random } from "../../fuzz/random.ts";
import {
  block,
  endHeaders,
  endStream,
  type Fields,
  frame,
  frameBytes,
} from "../http2/raw-client.ts";

const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

const methods = [
  "GET",
  "POST",
  "PUT",
  "HEAD",
  "OPTIONS",
  "get",
  "GE\tT",
  `GET ${smuggled}`,
  "PRI",
  "",
];
const paths = [
  "/",
  "/a?b=c",
  "/a%0d%0ab",
  "/a b",
  "/a HTTP/1.1\r\nx: y",
  `/a HTTP/1.1\r\n\r\n${smuggled}`,
  "//a//b",
  "/\u00e4",
  "/#f",
  "*",
  "",
  "http://other.test/a",
  "a",
];
const authorities = [
  "shop.test",
  "shop.test:80",
  "a b",
  "a\r\nx: y",
  "user@shop.test",
  "",
  "[::1]",
];
const lengths = [
  "0",
  "5",
  "6",
  "5, 5",
  "5,6",
  "+5",
  "05",
  "0x5",
  " 5",
  "5 ",
  "-5",
  "99999999999999999999",
];
const others: Fields = [
  ["x-one", "1"],
  ["x-one", "1\r\nx-two: 2"],
  ["x-one", `1\n\n${smuggled}`],
  ["x-one", "1\u0000"],
  ["x-one", "\u00e4"],
  ["x-one", " 1"],
  ["x-one", ""],
  ["x\r\ny", "1"],
  ["x y", "1"],
  ["x:", "1"],
  ["X-One", "1"],
  ["", "1"],
  ["transfer-encoding", "chunked"],
  ["transfer-encoding", "identity"],
  ["transfer_encoding", "chunked"],
  ["transfer-encoding ", "chunked"],
  ["connection", "close"],
  ["connection", "content-length"],
  ["keep-alive", "timeout=5"],
  ["proxy-connection", "close"],
  ["upgrade", "h2c"],
  ["http2-settings", "AAMAAABkAAQAAP__"],
  ["te", "trailers"],
  ["te", "chunked"],
  ["trailer", "content-length"],
  ["expect", "100-continue"],
  ["host", "other.test"],
  ["cookie", "a=1"],
  ["cookie", "b=2; c=3"],
  ["content-type", "text/plain"],
];
const trailers: Fields = [
  ["x-trailer", "1"],
  ["content-length", "5"],
  ["transfer-encoding", "chunked"],
  ["host", "other.test"],
  ["trailer", "x"],
  ["x-trailer", `1\r\n\r\n${smuggled}`],
  [":path", "/other"],
];
const contents = ["hello", "0\r\n\r\n", smuggled, "5\r\nhello\r\n0\r\n\r\n"];

const sound: Fields = others.filter(
  ([name, value]) =>
    /^(x-one|te|expect|cookie|content-type|trailer)$/.test(name) &&
    /^[!-~][ -~]*$/.test(value) &&
    value !== "chunked",
);

/** What of a request is made up; nothing, for half of them. */
const twists = ["method", "scheme", "authority", "path", "length", "field", "trailers"] as const;

function requestFrames(random: Random, id: number): Buffer {
  const twist = random.below(2) === 0 ? undefined : random.pick(twists);
  const one = (name: string, items: readonly string[], soundCount: number): string =>
    random.pick(twist === name ? items : items.slice(0, soundCount));
  const fields: (readonly [string, string])[] = [
    [":method", one("method", methods, 5)],
    [":scheme", one("scheme", ["http", "https", "ht tp", ""], 2)],
    [":authority", one("authority", authorities, 2)],
    [":path", one("path", paths, 3)],
  ];
  const parts = Array.from({ length: random.below(4) }, () => random.pick(contents));
  const bytes = Buffer.byteLength(parts.join(""), "latin1");
  if (twist === "length") fields.push(["content-length", random.pick(lengths)]);
  else if (random.below(2) === 0) fields.push(["content-length", String(bytes)]);
  for (let more = random.below(4); more > 0; more--) fields.push(random.pick(sound));
  if (twist === "field") fields.push(random.pick(others));
  const ending =
    twist === "trailers" ? random.pick(trailers) : random.below(4) === 0 ? trailers[0] : undefined;
  const isBare = parts.length === 0 && ending === undefined;
  const head = frameBytes(frame.headers, endHeaders | (isBare ? endStream : 0), id, block(fields));
  const frames = [head];
  for (const [at, part] of parts.entries()) {
    const isEnd = ending === undefined && at === parts.length - 1;
    frames.push(frameBytes(frame.data, isEnd ? endStream : 0, id, Buffer.from(part, "latin1")));
  }
  if (ending !== undefined) frames.push(frameBytes(1, endStream | endHeaders, id, block([ending])));
  return Buffer.concat(frames);
}

/** Connections of up to three requests each; `corpusFile`: of the search of frames. */
export function http2Inputs(corpusFile: string, count: number): readonly Buffer[] {
  const random = new Random(11);
  const settings = frameBytes(frame.settings, 0, 0, Buffer.alloc(0));
  const made = Array.from({ length: count }, () => {
    const requests = Array.from({ length: 1 + random.below(3) }, (_, at) =>
      requestFrames(random, 1 + 2 * at),
    );
    return Buffer.concat([preface, settings, ...requests]);
  });
  const kept = readCorpus(corpusFile);
  const from = { corpus: made.slice(0, 500), tokens: [Buffer.from("\r\n")], bytesMax: 4000 };
  const mutated = Array.from({ length: count / 4 }, () => mutate(random.pick(made), random, from));
  return [...made, ...kept, ...mutated];
}
