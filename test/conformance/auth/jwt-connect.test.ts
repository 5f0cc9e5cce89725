/**
 * Tokens for CONNECT, which has no path that rules could match: over one file, under Heddle's data plane
 * (both I/O backends, and data workers) and under Envoy.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { ask } from "../http1/servers.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";
import { keySet } from "./jwt-bootstrap.ts";

const regex = (text: string): object => ({ safe_regex: { regex: text } });
const matches: Readonly<Record<string, object>> = {
  nothing: { prefix: "" },
  root: { prefix: "/" },
  anything: regex(".*"),
  something: regex(".+"),
  path: { path: "" },
  tunnel: { connect_matcher: {} },
  method: { prefix: "", headers: [{ name: ":method", string_match: { exact: "CONNECT" } }] },
};
const names = Object.keys(matches);

const extensions = "type.googleapis.com/envoy.extensions";
let planes: Planes<string>;

before(async () => {
  planes = await startPlanes(names, (ports) => {
    const listener = (name: string): object => {
      const jwt = {
        "@type": `${extensions}.filters.http.jwt_authn.v3.JwtAuthentication`,
        providers: { main: { issuer: "me", local_jwks: { inline_string: keySet } } },
        rules: [{ match: matches[name], requires: { provider_name: "main" } }],
      };
      const route = {
        cluster: "empty",
        upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }],
      };
      const manager = {
        "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
        stat_prefix: name,
        upgrade_configs: [{ upgrade_type: "CONNECT" }],
        route_config: {
          virtual_hosts: [
            { name: "all", domains: ["*"], routes: [{ match: { connect_matcher: {} }, route }] },
          ],
        },
        http_filters: [
          { name: "jwt", typed_config: jwt },
          {
            name: "router",
            typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
          },
        ],
      };
      return {
        name,
        address: { socket_address: { address: "127.0.0.1", port_value: ports[name] } },
        filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
      };
    };
    return JSON.stringify({
      static_resources: {
        clusters: [{ name: "empty", type: "STATIC", load_assignment: { cluster_name: "empty" } }],
        listeners: names.map(listener),
      },
    });
  });
});

after(() => planes.close());

/** 401: a token is asked for; 503: none is, and the cluster has no endpoints. */
async function outcomes(plane: PlaneName): Promise<readonly string[]> {
  const text = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nConnection: close\r\n\r\n";
  const answers = names.map(async (name) => {
    const { statuses } = await ask(planes.port(plane, name), text);
    return `${name} ${statuses[0]}`;
  });
  return Promise.all(answers);
}

test("rules find CONNECT as in Envoy", async () => {
  const wanted = await outcomes("envoy");
  assert.ok(wanted.includes("tunnel 401"), wanted.join());
  for (const plane of planeNames) assert.deepEqual(await outcomes(plane), wanted, plane);
});
