/**
 * Whose address a policy asks about, behind a PROXY header and other proxies' word for the client: the
 * same file under Heddle's planes and under Envoy.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask } from "../http1/servers.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";

const types = "type.googleapis.com/envoy.extensions";
const ranges = { own: "127.0.0.0", told: "203.0.113.0", client: "192.0.2.0", local: "198.18.0.0" };
const principals = ["direct_remote_ip", "source_ip", "remote_ip"];
const text =
  "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%";
let planes: Planes<"http" | "tcp">;

function rules(principal: object): object {
  const one = { permissions: [{ any: true }], principals: [principal] };
  return { policies: { one } };
}

function principal(kind: string, range: string): object {
  return { [kind]: { address_prefix: range, prefix_len: 24 } };
}

/** One port for both: a connection that is not refused is answered as HTTP. */
function listener(name: string, port: number, chain: object): object {
  const proxyProtocol = {
    "@type": `${types}.filters.listener.proxy_protocol.v3.ProxyProtocol`,
    allow_requests_without_proxy_protocol: true,
  };
  return {
    name,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    listener_filters: [
      { name: "envoy.filters.listener.proxy_protocol", typed_config: proxyProtocol },
    ],
    filter_chains: [chain],
  };
}

before(async () => {
  planes = await startPlanes(["http", "tcp"], (ports, { logFile }) => {
    const routes = principals.flatMap((kind) =>
      Object.entries(ranges).map(([name, range]) => ({
        match: { path: `/${kind}/${name}` },
        direct_response: { status: 200, body: { inline_string: "taken" } },
        response_headers_to_add: [{ header: { key: "x-seen", value: text } }],
        typed_per_filter_config: {
          rbac: {
            "@type": `${types}.filters.http.rbac.v3.RBACPerRoute`,
            rbac: { rules: rules(principal(kind, range)) },
          },
        },
      })),
    );
    const manager = {
      "@type": `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "in",
      access_log: [
        {
          name: "file",
          typed_config: {
            "@type": `${types}.access_loggers.file.v3.FileAccessLog`,
            path: logFile,
            log_format: { text_format_source: { inline_string: `${text}\n` } },
          },
        },
      ],
      route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
      http_filters: [
        { name: "rbac", typed_config: { "@type": `${types}.filters.http.rbac.v3.RBAC` } },
        { name: "router", typed_config: { "@type": `${types}.filters.http.router.v3.Router` } },
      ],
    };
    const network = {
      "@type": `${types}.filters.network.rbac.v3.RBAC`,
      stat_prefix: "tcp",
      rules: rules({
        and_ids: {
          ids: [
            principal("direct_remote_ip", ranges.own),
            principal("source_ip", ranges.told),
            principal("remote_ip", ranges.told),
          ],
        },
      }),
    };
    const http = { name: "http", typed_config: manager };
    return JSON.stringify({
      static_resources: {
        listeners: [
          listener("http", ports.http, { filters: [http] }),
          listener("tcp", ports.tcp, {
            filters: [{ name: "rbac", typed_config: network }, http],
          }),
        ],
      },
    });
  });
});

after(() => planes.close());

const header = "PROXY TCP4 203.0.113.7 198.18.0.9 40000 443\r\n";
const forwarded = "x-forwarded-for: 192.0.2.7\r\n";

async function outcome(plane: PlaneName, name: "http" | "tcp", bytes: string): Promise<string> {
  const { statuses, text: answer } = await ask(planes.port(plane, name), bytes);
  const seen = /\r\nx-seen: (.*)\r\n/.exec(answer)?.[1] ?? "";
  // What a route adds to a denial is another matter.
  return statuses.join() === "200" ? `200 ${seen}` : statuses.join();
}

const heads = { "": "", proxied: header };
const fields = { "": "", forwarded };

for (const plane of planeNames) {
  test(`addresses in policies are whose Envoy says: ${plane}`, async () => {
    for (const kind of principals) {
      for (const range of Object.keys(ranges)) {
        for (const head of Object.values(heads)) {
          for (const field of Object.values(fields)) {
            const bytes = `${head}GET /${kind}/${range} HTTP/1.1\r\nHost: a\r\n${field}\r\n`;
            const [ours, envoy] = await Promise.all(
              [plane, "envoy" as const].map((one) => outcome(one, "http", bytes)),
            );
            assert.equal(ours, envoy, bytes);
          }
        }
      }
    }
  });

  test(`a policy on connections tells the socket's end from the header's: ${plane}`, async () => {
    const request = "GET /direct_remote_ip/own HTTP/1.1\r\nHost: a\r\n\r\n";
    for (const [head, wanted] of [
      [header, "200 127.0.0.1 203.0.113.7"],
      ["", ""],
    ] as const) {
      assert.equal(await outcome("envoy", "tcp", head + request), wanted, `Envoy, ${head}`);
      assert.equal(await outcome(plane, "tcp", head + request), wanted, head);
    }
  });
}

test("a policy for the socket's end is not met by what a PROXY header says", async () => {
  const request = (path: string): string => `${header}GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;
  assert.match(await outcome("epoll", "http", request("/direct_remote_ip/told")), /^403$/);
  assert.match(await outcome("epoll", "http", request("/direct_remote_ip/own")), /^200 /);
  assert.match(await outcome("epoll", "http", request("/source_ip/told")), /^200 /);
});
