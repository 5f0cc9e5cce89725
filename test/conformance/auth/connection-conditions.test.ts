/**
 * Policies on connections with conditions in CEL, each behind a filter chain that is chosen by the
 * source that a PROXY header tells: the same file under Heddle's planes and under Envoy.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask } from "../http1/servers.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";

type Expr = object;
const text = (value: string): Expr => ({ const_expr: { string_value: value } });
const number = (value: number): Expr => ({ const_expr: { int64_value: String(value) } });
const of = (name: string, field: string): Expr => ({
  select_expr: { operand: { ident_expr: { name } }, field },
});
const call = (called: string, ...args: readonly Expr[]): Expr => ({
  call_expr: { function: called, args },
});
const method = (target: Expr, called: string, ...args: readonly Expr[]): Expr => ({
  call_expr: { target, function: called, args },
});
const no: Expr = { const_expr: { bool_value: false } };

const conditions: readonly Expr[] = [
  call("_==_", of("source", "port"), number(40_000)),
  call("_==_", of("source", "port"), number(40_001)),
  call("_>_", of("source", "port"), number(1023)),
  method(of("source", "address"), "startsWith", text("203.0.113.")),
  method(of("source", "address"), "endsWith", text(":1")),
  call("_==_", of("destination", "port"), number(443)),
  method(of("destination", "address"), "startsWith", text("198.18.0.9:")),
  call("_==_", of("connection", "mtls"), no),
  call("!_", of("connection", "mtls")),
  call("_==_", of("connection", "requested_server_name"), text("")),
  call("_!=_", of("connection", "requested_server_name"), text("a.test")),
  call("_==_", of("connection", "uri_san_peer_certificate"), text("a")),
  call("_!=_", of("connection", "uri_san_peer_certificate"), text("a")),
  call(
    "_||_",
    call("_!=_", of("connection", "subject_peer_certificate"), text("a")),
    call("_==_", of("source", "port"), number(40_000)),
  ),
];

const types = "type.googleapis.com/envoy.extensions";
let planes: Planes<"in">;

before(async () => {
  planes = await startPlanes(["in"], (ports) => {
    const chain = (condition: Expr, i: number, action: "ALLOW" | "DENY"): object => ({
      filter_chain_match: {
        source_prefix_ranges: [{ address_prefix: sourceOf(i, action), prefix_len: 32 }],
      },
      filters: [
        {
          name: "rbac",
          typed_config: {
            "@type": `${types}.filters.network.rbac.v3.RBAC`,
            stat_prefix: "in",
            rules: {
              action,
              policies: {
                one: { permissions: [{ any: true }], principals: [{ any: true }], condition },
              },
            },
          },
        },
        {
          name: "http",
          typed_config: {
            "@type": `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
            stat_prefix: "in",
            route_config: {
              virtual_hosts: [
                {
                  name: "all",
                  domains: ["*"],
                  routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }],
                },
              ],
            },
            http_filters: [
              {
                name: "router",
                typed_config: { "@type": `${types}.filters.http.router.v3.Router` },
              },
            ],
          },
        },
      ],
    });
    const header = { "@type": `${types}.filters.listener.proxy_protocol.v3.ProxyProtocol` };
    return JSON.stringify({
      static_resources: {
        listeners: [
          {
            name: "in",
            address: { socket_address: { address: "127.0.0.1", port_value: ports.in } },
            listener_filters: [{ name: "proxy", typed_config: header }],
            filter_chains: conditions.flatMap((condition, i) => [
              chain(condition, i, "ALLOW"),
              chain(condition, i, "DENY"),
            ]),
          },
        ],
      },
    });
  });
});

after(() => planes.close());

function sourceOf(i: number, action: "ALLOW" | "DENY"): string {
  return `203.0.113.${2 * i + (action === "DENY" ? 1 : 0)}`;
}

async function verdicts(plane: PlaneName): Promise<readonly string[]> {
  const told = conditions.flatMap((_, i) =>
    (["ALLOW", "DENY"] as const).map(async (action) => {
      const header = `PROXY TCP4 ${sourceOf(i, action)} 198.18.0.9 40000 443\r\n`;
      const request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
      const { statuses } = await ask(planes.port(plane, "in"), header + request);
      return `${action} ${JSON.stringify(conditions[i])}: ${statuses.join() || "closed"}`;
    }),
  );
  return await Promise.all(told);
}

test("conditions of policies on connections hold as in Envoy", async () => {
  const envoy = await verdicts("envoy");
  assert.ok(
    envoy.some((one) => one.endsWith("200")) && envoy.some((one) => one.endsWith("closed")),
  );
  for (const plane of planeNames) assert.deepEqual(await verdicts(plane), envoy, plane);
});
