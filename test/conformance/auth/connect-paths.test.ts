/**
 * Policies about paths on CONNECT, which has none: over one file, by HTTP/1.1 and HTTP/2, under Heddle's
 * data plane (both I/O backends, and data workers) and under Envoy.
 */
import assert from "node:assert/strict";
import http2 from "node:http2";
import { after, before, test } from "node:test";

import { ask } from "../http1/servers.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";

const pattern = (regex: string): object => ({ safe_regex: { google_re2: {}, regex } });
const path = (match: object): object => ({ url_path: { path: match } });
const header = (name: string, more: object): object => ({ header: { name, ...more } });

const permissions: Readonly<Record<string, object>> = {
  anything: path(pattern(".*")),
  something: path(pattern(".+")),
  below: path({ prefix: "/" }),
  notBelow: { not_rule: path({ prefix: "/" }) },
  notAnything: { not_rule: path(pattern(".*")) },
  present: header(":path", { present_match: true }),
  absent: header(":path", { present_match: true, invert_match: true }),
  value: header(":path", { string_match: pattern(".*") }),
  other: header(":path", { string_match: { exact: "/a" }, invert_match: true }),
  empty: header(":path", { string_match: { exact: "" }, treat_missing_header_as_empty: true }),
  notEmpty: header(":path", {
    string_match: { prefix: "/" },
    invert_match: true,
    treat_missing_header_as_empty: true,
  }),
  method: header(":method", { string_match: { exact: "CONNECT" } }),
  authority: header(":authority", { string_match: { suffix: ":443" } }),
};
const cases = Object.keys(permissions).flatMap((name) => [`allow-${name}`, `deny-${name}`]);

const extensions = "type.googleapis.com/envoy.extensions";
const rbac = `${extensions}.filters.http.rbac.v3`;
let planes: Planes<"in">;

before(async () => {
  planes = await startPlanes(["in"], (ports) => {
    const host = (name: string): object => {
      const [action = "", of = ""] = name.split("-");
      const policy = { permissions: [permissions[of]], principals: [{ any: true }] };
      const rules = { action: action.toUpperCase(), policies: { p: policy } };
      return {
        name,
        domains: [`${name.toLowerCase()}.test:443`],
        routes: [
          {
            match: { connect_matcher: {} },
            route: {
              cluster: "empty",
              upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
            },
          },
        ],
        typed_per_filter_config: { rbac: { "@type": `${rbac}.RBACPerRoute`, rbac: { rules } } },
      };
    };
    const manager = {
      "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "in",
      http2_protocol_options: { allow_connect: true },
      upgrade_configs: [{ upgrade_type: "CONNECT" }],
      route_config: { virtual_hosts: cases.map(host) },
      http_filters: [
        { name: "rbac", typed_config: { "@type": `${rbac}.RBAC` } },
        {
          name: "router",
          typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
        },
      ],
    };
    return JSON.stringify({
      static_resources: {
        clusters: [{ name: "empty", type: "STATIC", load_assignment: { cluster_name: "empty" } }],
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

/** 503: a policy let it pass, to a cluster without endpoints. */
async function byHttp1(plane: PlaneName): Promise<readonly string[]> {
  const answers = cases.map(async (name) => {
    const host = `${name.toLowerCase()}.test:443`;
    const text = `CONNECT ${host} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`;
    const { statuses } = await ask(planes.port(plane, "in"), text);
    return `${name} ${statuses[0]}`;
  });
  return Promise.all(answers);
}

async function byHttp2(plane: PlaneName): Promise<readonly string[]> {
  const session = http2.connect(`http://127.0.0.1:${planes.port(plane, "in")}`);
  const answers = cases.map(
    (name) =>
      new Promise<string>((resolve, reject) => {
        const stream = session.request({
          ":method": "CONNECT",
          ":authority": `${name.toLowerCase()}.test:443`,
        });
        stream.on("error", reject);
        stream.on("response", (headers) => {
          stream.close();
          resolve(`${name} ${headers[":status"]}`);
        });
      }),
  );
  try {
    return await Promise.all(answers);
  } finally {
    session.destroy();
  }
}

for (const [version, outcomes] of [
  ["HTTP/1.1", byHttp1],
  ["HTTP/2", byHttp2],
] as const) {
  test(`policies find no path in CONNECT, as in Envoy: ${version}`, async () => {
    const wanted = await outcomes("envoy");
    assert.ok(wanted.includes("deny-anything 503"), wanted.join());
    for (const plane of planeNames) assert.deepEqual(await outcomes(plane), wanted, plane);
  });
}
