/** Conditions of policies, written in CEL: the same file under Heddle's planes and under Envoy. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";

type Expr = object;
const name = (text: string): Expr => ({ ident_expr: { name: text } });
const text = (value: string): Expr => ({ const_expr: { string_value: value } });
const number = (value: number): Expr => ({ const_expr: { int64_value: String(value) } });
const field = (operand: Expr, of: string, testOnly = false): Expr => ({
  select_expr: { operand, field: of, ...(testOnly ? { test_only: true } : {}) },
});
const call = (called: string, ...args: readonly Expr[]): Expr => ({
  call_expr: { function: called, args },
});
const method = (target: Expr, called: string, ...args: readonly Expr[]): Expr => ({
  call_expr: { target, function: called, args },
});
const request = (of: string): Expr => field(name("request"), of);
const header = (of: string): Expr => call("_[_]", request("headers"), text(of));

const conditions: Readonly<Record<string, Expr>> = {
  equal: call("_==_", request("method"), text("GET")),
  different: call("_!=_", request("method"), text("GET")),
  path: method(request("path"), "startsWith", text("/path?a")),
  urlPath: call("_==_", request("url_path"), text("/urlPath")),
  query: call("_==_", request("query"), text("a=1")),
  host: method(request("host"), "endsWith", text("test")),
  header: call("_==_", header("x-user"), text("alice")),
  missing: call("_==_", header("x-none"), text("alice")),
  notMissing: call("!_", call("_==_", header("x-none"), text("alice"))),
  either: call(
    "_||_",
    call("_==_", header("x-none"), text("a")),
    call("_==_", text("a"), text("a")),
  ),
  both: call(
    "_&&_",
    call("_==_", header("x-user"), text("bob")),
    call("_==_", text("a"), text("a")),
  ),
  has: field(request("headers"), "x-user", true),
  inList: call("@in", header("x-user"), {
    list_expr: { elements: [text("alice"), text("carol")] },
  }),
  inHeaders: call("@in", text("x-user"), request("headers")),
  choice: call(
    "_?_:_",
    call("_==_", header("x-user"), text("alice")),
    call("_==_", number(1), number(1)),
    call("_==_", number(1), number(2)),
  ),
  matches: method(header("x-user"), "matches", text("^a.*e$")),
  contains: method(header("x-user"), "contains", text("li")),
  number: call("_>_", field(name("source"), "port"), number(1023)),
  tls: call("_==_", field(name("connection"), "mtls"), { const_expr: { bool_value: false } }),
  size: call("_>=_", call("size", header("x-user")), number(4)),
  requestSize: call("_==_", request("size"), number(0)),
  serverName: call("_!=_", field(name("connection"), "requested_server_name"), text("a.example")),
  noBoolean: request("method"),
};

const types = "type.googleapis.com/envoy.extensions";
let planes: Planes<"in">;

before(async () => {
  planes = await startPlanes(["in"], (ports) => {
    const rules = (action: string, condition: Expr): object => ({
      action,
      policies: { one: { permissions: [{ any: true }], principals: [{ any: true }], condition } },
    });
    const route = (prefix: string, action: string, condition: Expr): object => ({
      match: { prefix },
      direct_response: { status: 200 },
      typed_per_filter_config: {
        rbac: {
          "@type": `${types}.filters.http.rbac.v3.RBACPerRoute`,
          rbac: { rules: rules(action, condition) },
        },
      },
    });
    const routes = Object.entries(conditions).flatMap(([of, condition]) => [
      route(`/deny/${of}`, "DENY", condition),
      route(`/${of}`, "ALLOW", condition),
    ]);
    const manager = {
      "@type": `${types}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "in",
      route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
      http_filters: [
        { name: "rbac", typed_config: { "@type": `${types}.filters.http.rbac.v3.RBAC` } },
        { name: "router", typed_config: { "@type": `${types}.filters.http.router.v3.Router` } },
      ],
    };
    return JSON.stringify({
      static_resources: {
        listeners: [
          {
            name: "in",
            address: { socket_address: { address: "127.0.0.1", port_value: ports.in } },
            filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
          },
        ],
      },
    });
  });
});

after(() => planes.close());

for (const plane of planeNames) {
  test(`conditions of policies hold as in Envoy: ${plane}`, async () => {
    for (const of of Object.keys(conditions)) {
      for (const way of ["", "/deny"]) {
        for (const user of [undefined, "alice", "bob"]) {
          const path = `${way}/${of}?a=1`;
          assert.equal(
            await ask(plane, path, user),
            await ask("envoy", path, user),
            `${path} ${user}`,
          );
        }
      }
    }
  });
}

async function ask(plane: PlaneName, path: string, user: string | undefined): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${planes.port(plane, "in")}${path}`, {
    headers: user === undefined ? {} : { "x-user": user },
  });
  await answer.arrayBuffer();
  return answer.status;
}
