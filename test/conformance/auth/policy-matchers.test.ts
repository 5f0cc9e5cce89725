/**
 * Policies written as trees of matchers, and filter chains chosen by one: the same file under Heddle's
 * planes and under Envoy.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask } from "../http1/servers.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";

const types = "type.googleapis.com";
const extensions = `${types}/envoy.extensions`;
const network = `${extensions}.matching.common_inputs.network.v3`;

function typed(type: string, more: object = {}): object {
  return { name: type, typed_config: { "@type": type, ...more } };
}

const header = (header_name: string): object =>
  typed(`${types}/envoy.type.matcher.v3.HttpRequestHeaderMatchInput`, { header_name });
const does = (action: "ALLOW" | "DENY" | "LOG", name = "p"): object => ({
  action: typed(`${types}/envoy.config.rbac.v3.Action`, { name, action }),
});
const user = (value_match: object): object => ({
  single_predicate: { input: header("x-user"), value_match },
});
const from = (...ranges: readonly string[]): object =>
  typed(`${extensions}.matching.input_matchers.ip.v3.Ip`, {
    cidr_ranges: ranges.map((address_prefix) => ({ address_prefix, prefix_len: 8 })),
    stat_prefix: "ip",
  });
const list = (
  ...matchers: readonly (readonly [predicate: object, on_match: object])[]
): object => ({
  matcher_list: { matchers: matchers.map(([predicate, on_match]) => ({ predicate, on_match })) },
});
const alice = user({ exact: "alice" });
const exact = (map: object): object => ({
  matcher_tree: { input: header("x-user"), exact_match_map: { map } },
});
const prefix = (map: object): object => ({
  matcher_tree: { input: header("x-user"), prefix_match_map: { map } },
});
const nested = (matcher: object): object => ({ matcher });
const ipTree = (input: string, ...ranges: readonly [string, number, object][]): object => ({
  matcher_tree: {
    input: typed(`${network}.${input}`),
    custom_match: typed(`${types}/xds.type.matcher.v3.IPMatcher`, {
      range_matchers: ranges.map(([address_prefix, prefix_len, on_match]) => ({
        ranges: [{ address_prefix, prefix_len }],
        on_match,
      })),
    }),
  },
});

const nobody = list([user({ exact: "nobody" }), does("ALLOW")]);
const trees: Readonly<Record<string, object>> = {
  exactly: list([alice, does("ALLOW")]),
  ignoringCase: list([user({ exact: "ALICE", ignore_case: true }), does("ALLOW")]),
  beginning: list([user({ prefix: "al" }), does("ALLOW")]),
  ending: list([user({ suffix: "ce" }), does("ALLOW")]),
  inside: list([user({ contains: "li" }), does("ALLOW")]),
  pattern: list([user({ safe_regex: { google_re2: {}, regex: "a.*e" } }), does("ALLOW")]),
  not: list([{ not_matcher: alice }, does("ALLOW")]),
  both: list([{ and_matcher: { predicate: [alice, user({ prefix: "a" })] } }, does("ALLOW")]),
  either: list([{ or_matcher: { predicate: [alice, user({ prefix: "bo" })] } }, does("ALLOW")]),
  order: list(
    [alice, does("DENY")],
    [user({ safe_regex: { google_re2: {}, regex: ".*" } }), does("ALLOW")],
  ),
  otherwise: { ...list([alice, does("DENY")]), on_no_match: does("ALLOW") },
  logs: { ...list([alice, does("LOG")]), on_no_match: does("DENY") },
  // A branch that finds nothing.
  goesOn: {
    ...list([user({ prefix: "a" }), nested(nobody)], [alice, does("ALLOW")]),
  },
  goesOnBehind: {
    ...list([user({ prefix: "a" }), nested(nobody)]),
    on_no_match: does("ALLOW"),
  },
  map: exact({ alice: does("ALLOW"), bob: does("DENY") }),
  mapNested: {
    ...exact({ alice: nested(nobody), bob: nested(list([user({ suffix: "b" }), does("ALLOW")])) }),
    on_no_match: does("ALLOW"),
  },
  prefixes: { ...prefix({ a: does("DENY"), ali: does("ALLOW") }), on_no_match: does("ALLOW") },
  prefixNested: {
    ...prefix({ a: does("ALLOW"), ali: nested(nobody) }),
    on_no_match: does("DENY"),
  },
  source: list([
    {
      single_predicate: {
        input: typed(`${network}.SourceIPInput`),
        custom_match: from("127.0.0.0"),
      },
    },
    does("ALLOW"),
  ]),
  client: list([
    {
      single_predicate: {
        input: typed(`${network}.SourceIPInput`),
        custom_match: from("192.0.0.0"),
      },
    },
    does("ALLOW"),
  ]),
  direct: list([
    {
      single_predicate: {
        input: typed(`${network}.DirectSourceIPInput`),
        custom_match: from("10.0.0.0", "127.0.0.0"),
      },
    },
    does("ALLOW"),
  ]),
  address: list([
    {
      single_predicate: {
        input: typed(`${network}.DestinationIPInput`),
        value_match: { exact: "127.0.0.1" },
      },
    },
    does("ALLOW"),
  ]),
  noServerName: list([
    {
      single_predicate: {
        input: typed(`${network}.ServerNameInput`),
        value_match: { safe_regex: { google_re2: {}, regex: ".*" } },
      },
    },
    does("ALLOW"),
  ]),
  noCertificate: list([
    {
      single_predicate: {
        input: typed(`${extensions}.matching.common_inputs.ssl.v3.UriSanInput`),
        value_match: { safe_regex: { google_re2: {}, regex: ".*" } },
      },
    },
    does("ALLOW"),
  ]),
  ranges: {
    ...ipTree(
      "SourceIPInput",
      ["0.0.0.0", 0, does("DENY")],
      ["127.0.0.0", 8, does("ALLOW")],
      ["192.0.2.0", 24, does("DENY")],
    ),
    on_no_match: does("DENY"),
  },
  rangeNested: {
    ...ipTree("SourceIPInput", ["127.0.0.0", 8, nested(nobody)], ["0.0.0.0", 0, does("ALLOW")]),
    on_no_match: does("DENY"),
  },
};

let planes: Planes<"http" | "tcp" | "chains">;

function manager(name: string, more: object): object {
  return {
    name: "http",
    typed_config: {
      "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: name,
      http_filters: [typed(`${extensions}.filters.http.router.v3.Router`)],
      ...more,
    },
  };
}

function says(name: string): object {
  return manager(name, {
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            {
              match: { prefix: "/" },
              direct_response: { status: 200, body: { inline_string: `<${name}>` } },
            },
          ],
        },
      ],
    },
  });
}

const chainName = (name: string): object => ({
  action: typed(`${types}/google.protobuf.StringValue`, { value: name }),
});

/** By the protocol, which an inspector tells, then by where it comes from. */
const chainTree: object = {
  matcher_tree: {
    input: typed(`${network}.ApplicationProtocolInput`),
    exact_match_map: {
      map: {
        "'http/1.0'": chainName("old"),
        "'h2c'": chainName("no such chain"),
        "'http/1.1'": nested({
          ...ipTree("DirectSourceIPInput", ["10.0.0.0", 8, chainName("old")]),
          on_no_match: nested(
            list(
              [
                {
                  single_predicate: {
                    input: typed(`${network}.TransportProtocolInput`),
                    value_match: { exact: "tls" },
                  },
                },
                chainName("old"),
              ],
              [
                {
                  single_predicate: {
                    input: typed(`${network}.SourceTypeInput`),
                    value_match: { exact: "local" },
                  },
                },
                chainName("new"),
              ],
            ),
          ),
        }),
      },
    },
  },
};

function bootstrap(
  ports: { readonly [name in "http" | "tcp" | "chains"]: number },
  logFile: string,
): string {
  const routes = Object.entries(trees).map(([name, matcher]) => ({
    match: { path: `/${name}` },
    direct_response: { status: 200 },
    typed_per_filter_config: {
      rbac: {
        "@type": `${extensions}.filters.http.rbac.v3.RBACPerRoute`,
        rbac: { matcher, shadow_matcher: exact({ alice: does("DENY", "shadow") }) },
      },
    },
  }));
  const log = typed(`${extensions}.access_loggers.file.v3.FileAccessLog`, {
    path: logFile,
    log_format: {
      text_format_source: {
        inline_string:
          "%REQ(:PATH)% %REQ(x-user)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% " +
          "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_engine_result)% " +
          "%DYNAMIC_METADATA(envoy.filters.http.rbac:shadow_effective_policy_id)% " +
          "%DYNAMIC_METADATA(envoy.common:access_log_hint)%\n",
      },
    },
  });
  const http = manager("http", {
    access_log: [log],
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
    http_filters: [
      { ...typed(`${extensions}.filters.http.rbac.v3.RBAC`), name: "rbac" },
      typed(`${extensions}.filters.http.router.v3.Router`),
    ],
  });
  const tcp = typed(`${extensions}.filters.network.rbac.v3.RBAC`, {
    stat_prefix: "tcp",
    matcher: {
      ...ipTree("SourceIPInput", ["127.0.0.0", 8, does("ALLOW")]),
      on_no_match: does("DENY"),
    },
  });
  const listener = (name: "http" | "tcp" | "chains", more: object): object => ({
    name,
    address: { socket_address: { address: "127.0.0.1", port_value: ports[name] } },
    ...more,
  });
  return JSON.stringify({
    static_resources: {
      listeners: [
        listener("http", { filter_chains: [{ filters: [http] }] }),
        listener("tcp", {
          listener_filters: [
            typed(`${extensions}.filters.listener.proxy_protocol.v3.ProxyProtocol`, {
              allow_requests_without_proxy_protocol: true,
            }),
          ],
          filter_chains: [{ filters: [tcp, says("tcp")] }],
        }),
        listener("chains", {
          listener_filters: [
            typed(`${extensions}.filters.listener.http_inspector.v3.HttpInspector`),
          ],
          filter_chain_matcher: chainTree,
          filter_chains: ["new", "old"].map((name) => ({ name, filters: [says(name)] })),
          default_filter_chain: { filters: [says("default")] },
        }),
      ],
    },
  });
}

before(async () => {
  planes = await startPlanes(["http", "tcp", "chains"], (ports, { logFile }) =>
    bootstrap(ports, logFile),
  );
});

after(() => planes.close());

const users = ["", "alice", "bob", "ALICE", "al"];

async function statuses(plane: PlaneName): Promise<readonly string[]> {
  const port = planes.port(plane, "http");
  const answers = await Promise.all(requests.map((request) => ask(port, request)));
  return answers.map((answer) => answer.statuses.join());
}

const requests = Object.keys(trees).flatMap((name) =>
  users.flatMap((one) =>
    ["", "x-forwarded-for: 192.0.2.7\r\n"].map((forwarded) => {
      const field = one === "" ? "" : `x-user: ${one}\r\n`;
      return `GET /${name} HTTP/1.1\r\nHost: a\r\n${field}${forwarded}\r\n`;
    }),
  ),
);
let expected: readonly string[] = [];

test("Envoy takes trees of matchers", async () => {
  expected = await statuses("envoy");
  assert.ok(new Set(expected).size === 2, "some are allowed, some denied");
});

async function logOf(plane: PlaneName): Promise<readonly string[]> {
  for (;;) {
    const lines = planes.log(plane);
    if (lines.length >= requests.length) return lines;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

for (const plane of planeNames) {
  test(`policies of matchers decide as in Envoy: ${plane}`, async () => {
    const found = await statuses(plane);
    for (const [i, request] of requests.entries()) assert.equal(found[i], expected[i], request);
  });

  test(`what they decide is told as in Envoy: ${plane}`, async () => {
    const envoy = (await logOf("envoy")).toSorted();
    assert.deepEqual((await logOf(plane)).toSorted(), envoy);
  });

  test(`connections are judged by matchers, and find their chains by one: ${plane}`, async () => {
    const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const proxied = `PROXY TCP4 203.0.113.7 198.18.0.9 40000 443\r\n${request}`;
    for (const [name, bytes, wanted] of [
      ["tcp", request, "<tcp>"],
      ["tcp", proxied, ""],
      ["chains", request, "<new>"],
      ["chains", "GET / HTTP/1.0\r\n\r\n", "426"],
      ["chains", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ""],
      ["chains", "nothing of HTTP\r\n\r\n", "400"],
    ] as const) {
      for (const one of ["envoy", plane] as const) {
        const answer = await ask(planes.port(one, name), bytes);
        const body = /<\w+>/.exec(answer.text)?.[0] ?? answer.statuses.join();
        assert.equal(body, wanted, `${one}: ${name} ${bytes}`);
      }
    }
  });
}
