/**
 * Writes test/conformance/http2/hpack-vectors.jsonl: header blocks that two encoders which are not ours made
 * of the same fields, Python's `hpack` (from its wheel, into .cache/hpack) and nghttp2 (Node's client).
 * The same every time it runs.
 *
 *   node tools/gen-hpack-vectors.ts
 */
import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import http2 from "node:http2";
import net, { type AddressInfo } from "node:net";
import { resolve } from "node:path";

type Fields = readonly (readonly [name: string, value: string])[];

/** Blocks of one connection, in their order. */
interface Story {
  readonly name: string;
  /** What the decoder allows its table to be. */
  readonly tableBytes: number;
  readonly blocks: readonly Fields[];
}

const hpackVersion = "4.2.0";
const packages = resolve(".cache/hpack");
const file = "test/conformance/http2/hpack-vectors.jsonl";

function head(method: string, path: string, ...more: Fields): Fields {
  return [
    [":method", method],
    [":scheme", "https"],
    [":authority", "shop.example:8443"],
    [":path", path],
    ...more,
  ];
}

const browser: Fields = [
  ["user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"],
  ["accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"],
  ["accept-language", "de,en-US;q=0.7,en;q=0.3"],
  ["accept-encoding", "gzip, deflate, br, zstd"],
  ["cookie", "session=0123456789abcdef; theme=dark"],
];
const call: Fields = [
  ["te", "trailers"],
  ["content-type", "application/grpc+proto"],
  ["user-agent", "grpc-go/1.85.0"],
  ["grpc-timeout", "999m"],
  ["grpc-accept-encoding", "gzip"],
];
const letters = "abcdefghijklmnopqrstuvwxyz";
const of = (count: number, make: (at: number) => Fields): readonly Fields[] =>
  Array.from({ length: count }, (_, at) => make(at));

const stories = (tableBytes: number): readonly Story[] =>
  [
    {
      name: "a browser",
      blocks: of(8, (at) => head("GET", `/page/${at}`, ...browser, ["referer", `https://a/${at}`])),
    },
    { name: "a caller of gRPC", blocks: of(8, () => head("POST", "/shop.Cart/Add", ...call)) },
    {
      name: "entries that push each other out",
      blocks: of(12, (at) =>
        head("GET", "/", ["x-a", letters.repeat(20 + at)], ["x-b", String(at).repeat(600)]),
      ),
    },
    {
      name: "an entry larger than the table",
      blocks: of(3, () => head("GET", "/", ["x-large", "v".repeat(4100)], ["x-small", "1"])),
    },
    {
      name: "values of every visible byte, and of none",
      blocks: of(3, (at) =>
        head(
          "GET",
          "/",
          ["x-none", ""],
          [
            "x-all",
            String.fromCharCode(...Array.from({ length: 93 }, (_, byte) => byte + 0x21 + (at % 2))),
          ],
        ),
      ),
    },
    {
      name: "the same name again and again",
      blocks: of(4, (at) =>
        head("PUT", "/", ...Array.from({ length: 30 }, (_, i) => ["x-one", `${at + i}`] as const)),
      ),
    },
    {
      name: "names nobody has seen",
      blocks: of(6, (at) =>
        head(
          "GET",
          "/",
          ...Array.from({ length: 20 }, (_, i) => [`x-${at}-${i}`, `${i}`] as const),
        ),
      ),
    },
    {
      name: "long integers",
      blocks: of(4, (at) =>
        head("GET", `/${"p".repeat(125 + at)}`, ["x-v", "0".repeat(at === 0 ? 16_500 : 382 + at)]),
      ),
    },
  ].map((story) => ({ ...story, name: `${story.name}, table of ${tableBytes}`, tableBytes }));

const all = [...stories(4096), ...stories(0), ...stories(65_536)];

const script = `
import base64, json, sys
from hpack import Encoder
out = []
for story in json.load(sys.stdin):
    encoder = Encoder()
    if story["tableBytes"] != 4096:
        encoder.header_table_size = story["tableBytes"]
    for at, fields in enumerate(story["blocks"]):
        block = [(n.encode("latin1"), v.encode("latin1"), n in ("cookie", "authorization")) for n, v in fields]
        out.append(base64.b64encode(encoder.encode(block, huffman=at % 3 != 2)).decode())
json.dump(out, sys.stdout)
`;

function encodeInPython(): readonly string[] {
  if (!existsSync(packages)) {
    const args = [
      "install",
      "--quiet",
      "--no-deps",
      "--target",
      packages,
      `hpack==${hpackVersion}`,
    ];
    if (spawnSync("pip3", args, { stdio: "inherit" }).status !== 0) throw new Error("pip3 failed");
  }
  const { stdout, status, stderr } = spawnSync("python3", ["-c", script], {
    input: JSON.stringify(all),
    env: { ...process.env, PYTHONPATH: packages },
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

/** What Node's client sends to a server that allows such a table. */
async function encodeWithNghttp2(story: Story): Promise<readonly string[]> {
  const blocks: string[] = [];
  let received = Buffer.alloc(0);
  let parts: Buffer[] = [];
  const server = net.createServer((socket) => {
    socket.on("error", () => {});
    const settings = Buffer.alloc(15);
    settings.set([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 1]);
    settings.writeUInt32BE(story.tableBytes, 11);
    socket.write(settings);
    let isPreface = true;
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (isPreface && received.length >= 24) {
        received = received.subarray(24);
        isPreface = false;
      }
      while (!isPreface && received.length >= 9) {
        const length = received.readUIntBE(0, 3);
        if (received.length < 9 + length) return;
        const [type, flags] = [received[3], received[4] ?? 0];
        const payload = received.subarray(9, 9 + length);
        received = received.subarray(9 + length);
        // Priority stands before the block.
        if (type === 1) parts.push(payload.subarray((flags & 0x20) === 0 ? 0 : 5));
        if (type === 9) parts.push(payload);
        if ((type === 1 || type === 9) && (flags & 4) !== 0) {
          blocks.push(Buffer.concat(parts).toString("base64"));
          parts = [];
        }
      }
    });
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const client = http2.connect(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  client.on("error", () => {});
  // Its table has the size that was asked for before the first block.
  await new Promise((settled) => client.once("remoteSettings", settled));
  for (const [at, fields] of story.blocks.entries()) {
    const raw = fields.flat();
    const stream = client.request(raw as unknown as http2.OutgoingHttpHeaders, { endStream: true });
    stream.on("error", () => {});
    while (blocks.length <= at) await new Promise((turn) => setImmediate(turn));
  }
  client.destroy();
  server.close();
  return blocks;
}

const python = [...encodeInPython()];
const vectors: object[] = [];
for (const story of all) {
  const ours = python.splice(0, story.blocks.length);
  vectors.push({ ...story, python: ours, nghttp2: await encodeWithNghttp2(story) });
}
writeFileSync(file, `${vectors.map((one) => JSON.stringify(one)).join("\n")}\n`);
console.log(`${vectors.length} stories in ${file}`);
