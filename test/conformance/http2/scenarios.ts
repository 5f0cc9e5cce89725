/** Requests over HTTP/2 that are asked of each data plane, sound and otherwise. */
import { block, endHeaders, endStream, type Fields, frame, type RawClient } from "./raw-client.ts";
import type { Application, Door } from "./planes.ts";

export interface Scenario {
  readonly name: string;
  /** `auto` and `kind` unless named. */
  readonly doors?: readonly Door[];
  /** After preface and SETTINGS. */
  readonly send: (client: RawClient, application: Application) => void | Promise<void>;
  /** Streams whose end is waited for; 1 unless named. */
  readonly streams?: readonly number[];
  /** Where the streams do not end. */
  readonly isOver?: (client: RawClient) => boolean;
  /** Whether the upstream sees the head before all is over is chance. */
  readonly isUpstreamChance?: boolean;
  /** How long what may never come is waited for. */
  readonly patienceMs?: number;
}

export function get(path: string, ...more: Fields): Fields {
  return head("GET", path, ...more);
}

function head(method: string, path: string, ...more: Fields): Fields {
  return [
    [":method", method],
    [":scheme", "http"],
    [":authority", "shop.test"],
    [":path", path],
    ...more,
  ];
}

function ask(name: string, fields: Fields): Scenario {
  return { name, send: (client) => client.request(1, fields) };
}

function post(name: string, fields: Fields, ...parts: readonly string[]): Scenario {
  return {
    name,
    send: (client) => {
      client.request(1, fields, endHeaders);
      for (const [at, part] of parts.entries()) {
        const flags = at === parts.length - 1 ? endStream : 0;
        client.frame(frame.data, flags, 1, Buffer.from(part));
      }
    },
  };
}

/** A request whose fields are not those of `get()`. */
const without = (name: string, path = "/ok"): Fields => get(path).filter(([one]) => one !== name);
const put = (name: string, value: string): Fields =>
  get("/ok").map(([one, old]) => [one, one === name ? value : old]);

export const scenarios: readonly Scenario[] = [
  ask("passes a request and its answer", get("/ok?q=1", ["x-one", "1"])),
  ask("passes HEAD", head("HEAD", "/ok")),
  ask("passes an answer in chunks", get("/chunked")),
  {
    ...ask("passes a large answer", get("/large")),
    // As much as the window of a stream holds that nobody opens further.
    isOver: (client) => (client.streams.get(1)?.body.length ?? 0) >= 65_535,
  },
  ask("passes 204", get("/no-content")),
  ask("answers itself", get("/direct")),
  ask("takes an answer's hop-by-hop fields away", get("/hop")),
  ask("resets when the answer breaks off", get("/break")),
  ask("passes an unknown method", head("PURGE", "/ok")),
  ask("passes a method in lower case", head("get", "/ok")),
  ask("passes OPTIONS for the server", head("OPTIONS", "*")),
  ask("passes POST without a body", head("POST", "/ok")),
  ask("passes te: trailers", get("/ok", ["te", "trailers"])),
  ask("joins cookies", get("/ok", ["cookie", "a=1"], ["x-one", "1"], ["cookie", "b=2"])),
  ask("passes a field twice", get("/ok", ["x-one", "1"], ["x-one", "2"])),
  ask("passes bytes above ASCII", get("/ok", ["x-one", "\u00e4"])),
  post("passes a body of known length", head("POST", "/ok", ["content-length", "5"]), "hello"),
  post("passes a body of unknown length", head("POST", "/ok"), "he", "llo"),
  post("passes GET with a body", get("/ok"), "hello"),
  {
    name: "passes two requests at once",
    streams: [1, 3],
    send: (client) => {
      client.request(1, get("/slow"));
      client.request(3, get("/ok"));
    },
  },
  {
    name: "passes a head in pieces",
    send: (client) => {
      const whole = block(get("/ok", ["x-one", "1"]));
      client.frame(frame.headers, endStream, 1, whole.subarray(0, 7));
      client.frame(frame.continuation, 0, 1, whole.subarray(7, 30));
      client.frame(frame.continuation, endHeaders, 1, whole.subarray(30));
    },
  },
  {
    name: "passes trailers by",
    send: (client) => {
      client.request(1, head("POST", "/ok"), endHeaders);
      client.frame(frame.data, 0, 1, Buffer.from("hello"));
      client.request(1, [["x-trailer", "1"]]);
    },
  },
  {
    name: "sends on when windows grow",
    send: async (client) => {
      client.frame(frame.settings, 0, 0, Buffer.from([0, 4, 0, 0, 0, 10]));
      client.request(1, get("/ok"));
      client.frame(frame.windowUpdate, 0, 1, Buffer.from([0, 0, 0, 100]));
    },
  },
  {
    name: "hears that a client gives up",
    patienceMs: 150,
    send: async (client, application) => {
      client.request(1, get("/never"));
      await application.untilSeen();
      client.frame(frame.reset, 0, 1, Buffer.from([0, 0, 0, 8]));
    },
  },
  ask("asks for an authority", without(":authority")),
  ask("takes Host for an authority", [...without(":authority"), ["host", "host.test"]]),
  ask("prefers the authority to Host", get("/ok", ["host", "other.test"])),
  ask("does not believe two Hosts", [...without(":authority"), ["host", "a"], ["host", "b"]]),
  ask("refuses an authority with user information", put(":authority", "user@shop.test")),
  ask("refuses an authority with a space", put(":authority", "shop test")),
  ask("refuses an empty authority", put(":authority", "")),
  ask("refuses no method", without(":method")),
  ask("refuses no path", without(":path")),
  ask("refuses no scheme", without(":scheme")),
  ask("refuses an empty path", put(":path", "")),
  ask("refuses a path without slash", put(":path", "ok")),
  ask("refuses a path with a space", put(":path", "/o k HTTP/1.1")),
  ask("refuses a path with a line end", put(":path", "/ok\r\nx: y")),
  ask("refuses a path with a fragment", put(":path", "/ok#f")),
  ask("refuses a path above ASCII", put(":path", "/\u00e4")),
  ask("refuses a URL as path", put(":path", "http://other.test/ok")),
  ask("refuses a method with a space", put(":method", "GET /x HTTP/1.1\r\nx:")),
  ask("refuses a strange scheme", put(":scheme", "ftp://x")),
  ask("refuses a scheme with a space", put(":scheme", "ht tp")),
  ask("takes a scheme in upper case", put(":scheme", "HTTP")),
  ask("refuses a second path", get("/ok", [":path", "/other"])),
  ask("refuses a pseudo-field behind others", [...without(":path"), ["x", "1"], [":path", "/ok"]]),
  ask("refuses an unknown pseudo-field", [[":new", "1"], ...get("/ok")]),
  ask("refuses :status in a request", [[":status", "200"], ...get("/ok")]),
  ask("refuses upper case in a name", get("/ok", ["X-One", "1"])),
  ask("refuses a line end in a value", get("/ok", ["x-one", "1\r\nx-two: 2"])),
  ask("refuses a bare LF in a value", get("/ok", ["x-one", "1\n2"])),
  ask("refuses NUL in a value", get("/ok", ["x-one", "1\u00002"])),
  ask("refuses a control character in a value", get("/ok", ["x-one", "1\u00012"])),
  ask("refuses a colon in a name", get("/ok", ["x:one", "1"])),
  ask("refuses a space in a name", get("/ok", ["x one", "1"])),
  ask("refuses a line end in a name", get("/ok", ["x\r\ny", "1"])),
  ask("refuses NUL in a name", get("/ok", ["x\u0000y", "1"])),
  ask("refuses an empty name", get("/ok", ["", "1"])),
  ask("refuses white space around a value", get("/ok", ["x-one", " 1 "])),
  ask("refuses connection", get("/ok", ["connection", "close"])),
  ask("refuses transfer-encoding", get("/ok", ["transfer-encoding", "chunked"])),
  ask("refuses keep-alive", get("/ok", ["keep-alive", "5"])),
  ask("refuses proxy-connection", get("/ok", ["proxy-connection", "x"])),
  ask("refuses upgrade", get("/ok", ["upgrade", "websocket"])),
  ask("refuses te: gzip", get("/ok", ["te", "gzip"])),
  ask("refuses a length without a body", head("POST", "/ok", ["content-length", "5"])),
  ask("refuses a length that is none", head("POST", "/ok", ["content-length", "+0"])),
  {
    ...post(
      "refuses less content than promised",
      head("POST", "/ok", ["content-length", "9"]),
      "hello",
    ),
    isUpstreamChance: true,
  },
  {
    ...post(
      "refuses more content than promised",
      head("POST", "/ok", ["content-length", "2"]),
      "hello",
    ),
    isUpstreamChance: true,
  },
  post(
    "refuses two lengths",
    head("POST", "/ok", ["content-length", "5"], ["content-length", "6"]),
    "hello",
  ),
  ask("refuses CONNECT", [
    [":method", "CONNECT"],
    [":authority", "shop.test:80"],
  ]),
  ask("refuses extended CONNECT", [[":protocol", "websocket"], ...head("CONNECT", "/ok")]),
  { ...ask("refuses too large a head", get("/ok", ["x-one", "x".repeat(9000)])), doors: ["kind"] },
  { ...ask("refuses too long an authority", put(":authority", "a".repeat(9000))), doors: ["kind"] },
  {
    ...ask("refuses too many fields", get("/ok", ...crumbs(20, "x-one"))),
    doors: ["kind"],
  },
  {
    ...ask("refuses too many crumbs", get("/ok", ...crumbs(20, "cookie"))),
    doors: ["kind"],
  },
  {
    ...ask("takes as many fields as are allowed", get("/ok", ...crumbs(16, "x"))),
    doors: ["kind"],
  },
];

function crumbs(count: number, name: string): Fields {
  return Array.from({ length: count }, (_, at) => [name, `a${at}=1`]);
}
