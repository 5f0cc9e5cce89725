/** PROXY headers, well formed and not, before a request: Heddle on both I/O backends, and Envoy. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { findEnvoy } from "../../support/envoy.ts";
import { readKnownDifferences } from "../http1/known-differences.ts";
import { ask } from "../http1/servers.ts";
import { type ScenarioApplication, startApplication } from "./scenario-application.ts";
import { type Place, runEnvoy, runHeddle, type RunningData } from "./scenario-proxies.ts";

/** Answers every request itself, and says whom it takes for the client. */
function bootstrap({ ports, logFile }: Place): string {
  const types = "type.googleapis.com/envoy.extensions";
  const manager = {
    "@type": `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "in",
    access_log: [
      {
        name: "file",
        typed_config: {
          "@type": `${types}.access_loggers.file.v3.FileAccessLog`,
          path: logFile,
          log_format: { text_format_source: { inline_string: "%RESPONSE_CODE%\n" } },
        },
      },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          response_headers_to_add: [
            { header: { key: "x-remote", value: "%DOWNSTREAM_REMOTE_ADDRESS%" } },
          ],
          routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }],
        },
      ],
    },
    http_filters: [
      { name: "router", typed_config: { "@type": `${types}.filters.http.router.v3.Router` } },
    ],
  };
  return JSON.stringify({
    static_resources: {
      listeners: [
        {
          name: "in",
          address: { socket_address: { address: "127.0.0.1", port_value: ports.mesh } },
          listener_filters: [
            {
              name: "envoy.filters.listener.proxy_protocol",
              typed_config: {
                "@type": `${types}.filters.listener.proxy_protocol.v3.ProxyProtocol`,
              },
            },
          ],
          filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
        },
      ],
    },
  });
}

const signature = "\r\n\r\n\0\r\nQUIT\n";
const bytes = (...values: readonly number[]): string => String.fromCharCode(...values);
const ipv4 = bytes(203, 0, 113, 7, 198, 18, 0, 9, 156, 64, 1, 187);
const ipv6 = `${bytes(0x20, 1, 0x0d, 0xb8)}${"\0".repeat(11)}\x07${bytes(0xfd)}${"\0".repeat(15)}${bytes(156, 64, 1, 187)}`;
const tlv = bytes(4, 0, 2, 65, 66);
const client = "203.0.113.7:40000";

/** What stands before the request, and whom it is answered as; `closed` where it is refused. */
const headers: Readonly<Record<string, readonly [header: string, expect: string]>> = {
  "version 1": ["PROXY TCP4 203.0.113.7 198.18.0.9 40000 443\r\n", client],
  "version 1, IPv6": ["PROXY TCP6 2001:db8::7 fd00:: 40000 443\r\n", "[2001:db8::7]:40000"],
  "version 1, unknown": ["PROXY UNKNOWN\r\n", "own"],
  "version 1, unknown with addresses": ["PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "own"],
  "version 2": [`${signature}\x21\x11\0\x0c${ipv4}`, client],
  "version 2, IPv6": [`${signature}\x21\x21\0\x24${ipv6}`, "[2001:db8::7]:40000"],
  "version 2, with a value": [`${signature}\x21\x11\0\x11${ipv4}${tlv}`, client],
  "version 2, local": [`${signature}\x20\0\0\0`, "own"],
  "version 2, local with addresses": [`${signature}\x20\x11\0\x0c${ipv4}`, "own"],
  "version 2, of a Unix socket": [`${signature}\x21\x31\0\xd8/run/a${"\0".repeat(210)}`, "closed"],
  "version 2, local with half a value": [
    `${signature}\x20\x11\0\x0e${ipv4}${tlv.slice(0, 2)}`,
    "own",
  ],
  "version 2, of nobody": [`${signature}\x21\0\0\0`, "closed"],
  "version 2, of nobody, with addresses": [`${signature}\x21\0\0\x0c${ipv4}`, "closed"],
  "version 2, of no transport": [`${signature}\x21\x10\0\x0c${ipv4}`, "closed"],
  none: ["", "closed"],
  "bare LF": ["PROXY TCP4 203.0.113.7 198.18.0.9 40000 443\n", "closed"],
  "a port too high": ["PROXY TCP4 203.0.113.7 198.18.0.9 40000 65536\r\n", "closed"],
  "an octet too high": ["PROXY TCP4 203.0.113.256 198.18.0.9 40000 443\r\n", "closed"],
  "no address": ["PROXY TCP4 nobody 198.18.0.9 40000 443\r\n", "closed"],
  "an address of the other family": ["PROXY TCP4 ::1 ::1 40000 443\r\n", "closed"],
  "an unknown family": ["PROXY UDP4 203.0.113.7 198.18.0.9 40000 443\r\n", "closed"],
  "a line too long": [`PROXY TCP4 ${"1".repeat(120)}\r\n`, "closed"],
  "version 3": [`${signature}\x31\x11\0\x0c${ipv4}`, "closed"],
  "an unknown command": [`${signature}\x22\x11\0\x0c${ipv4}`, "closed"],
  "from nobody": [`${signature}\x21\x11\0\x0c${"\0".repeat(4)}${ipv4.slice(4)}`, "closed"],
  "to a group": ["PROXY TCP4 203.0.113.7 224.0.0.1 40000 443\r\n", "closed"],
  "to a group, IPv6": ["PROXY TCP6 2001:db8::7 ff02::1 40000 443\r\n", "closed"],
  "from everybody": ["PROXY TCP4 255.255.255.255 198.18.0.9 40000 443\r\n", "closed"],
  "a value cut short": [`${signature}\x21\x11\0\x10${ipv4}${tlv.slice(0, 4)}`, "closed"],
  "a value's head cut short": [`${signature}\x21\x11\0\x0e${ipv4}${tlv.slice(0, 2)}`, "closed"],
  "addresses cut short": [`${signature}\x21\x11\0\x04${ipv4.slice(0, 4)}`, "closed"],
};

let application: ScenarioApplication | undefined;
const proxies: RunningData[] = [];
const ports = new Map<string, number>();

/** Keeps the port that a proxy is given. */
function noting(name: string): (place: Place) => string {
  return (place) => {
    ports.set(name, place.ports.mesh);
    return bootstrap(place);
  };
}

before(async () => {
  application = await startApplication();
  for (const io of ["portable", "epoll"] as const) {
    proxies.push(await runHeddle(noting(io), application, { io, workers: 0 }));
  }
  const envoy = findEnvoy();
  assert.ok(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  proxies.push(await runEnvoy(envoy, noting("envoy"), application));
});

after(async () => {
  for (const proxy of proxies) await proxy.close();
  application?.close();
});

async function outcomeOf(name: string, header: string): Promise<string> {
  const port = ports.get(name);
  assert.ok(port !== undefined);
  const { statuses, text } = await ask(port, `${header}GET / HTTP/1.1\r\nHost: a\r\n\r\n`);
  if (statuses.length === 0) return "closed";
  const remote = /\r\nx-remote: (.*)\r\n/.exec(text)?.[1] ?? "";
  return remote.startsWith("127.0.0.1") ? "own" : remote;
}

const listed = new Set(readKnownDifferences().flatMap((one) => one.headers));

for (const [name, [header, expect]] of Object.entries(headers)) {
  test(`PROXY header: ${name}`, async () => {
    const envoy = await outcomeOf("envoy", header);
    for (const io of ["portable", "epoll"]) assert.equal(await outcomeOf(io, header), expect, io);
    if (listed.has(name)) assert.notEqual(envoy, expect, "listed, but the two agree");
    else assert.equal(envoy, expect, "Envoy");
  });
}
