/** Which server is asked for, and which is believed, where requests or endpoints name it; beside Envoy. */
import assert from "node:assert/strict";
import https from "node:https";
import { after, before, test } from "node:test";
import type { TLSSocket } from "node:tls";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { bootstrapOf, type Plane, startPlanes } from "./planes.ts";

const authority = await makeTestAuthority();
const issued = await authority.issue({
  uris: [],
  dnsNames: ["catalog.test", "*.wild.test", "fixed.test"],
  ips: ["127.0.0.1"],
});

const server = https.createServer(
  { cert: issued.chainPem, key: issued.privateKeyPem },
  (request, response) => {
    request.resume();
    const { servername } = request.socket as TLSSocket & { readonly servername?: string | false };
    response.end(`asked for ${String(servername)}`);
  },
);
let planes: readonly Plane[] = [];

const upstreamTls =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const httpOptions = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
const trusted = `trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}`;
const dns = (name: string): string =>
  `match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: ${name}}}]`;

interface Kind {
  readonly http?: string;
  readonly tls?: string;
  readonly validation?: string;
  readonly hostname?: string;
  readonly route?: string;
}

// Without sessions: what is asked for stands in full handshakes alone.
const kinds: Readonly<Record<string, Kind>> = {
  sni: { http: "auto_sni: true" },
  "sni-fixed": { http: "auto_sni: true", tls: "sni: fixed.test" },
  san: { http: "auto_san_validation: true", tls: "sni: fixed.test" },
  both: { http: "auto_sni: true, auto_san_validation: true" },
  header: {
    http: "auto_sni: true, auto_san_validation: true, override_auto_sni_header: X-Server",
  },
  rewritten: {
    http: "auto_sni: true, auto_san_validation: true",
    route: "host_rewrite_literal: catalog.test",
  },
  "both-and-matcher": {
    http: "auto_sni: true, auto_san_validation: true",
    validation: dns("fixed.test"),
  },
  "both-and-other": {
    http: "auto_sni: true, auto_san_validation: true",
    validation: dns("other.test"),
  },
  "by-hostname": { tls: "auto_host_sni: true", hostname: "catalog.test" },
  "by-hostname-first": { tls: "auto_host_sni: true, sni: fixed.test", hostname: "catalog.test" },
  "by-no-hostname": { tls: "auto_host_sni: true, sni: fixed.test" },
  "by-sni": { tls: "auto_sni_san_validation: true, sni: catalog.test" },
  "by-other-sni": { tls: "auto_sni_san_validation: true, sni: other.test" },
  "by-sni-instead": {
    tls: "auto_sni_san_validation: true, sni: catalog.test",
    validation: dns("other.test"),
  },
  "by-missing-sni": { tls: "auto_sni_san_validation: true" },
  "by-missing-sni-other": { tls: "auto_sni_san_validation: true", validation: dns("other.test") },
  "by-all": {
    http: "auto_sni: true",
    tls: "auto_host_sni: true, auto_sni_san_validation: true",
    hostname: "other.test",
  },
};

const hosts = [
  "catalog.test",
  "CATALOG.test:8443",
  "other.test",
  "a.wild.test",
  "a.b.wild.test",
  "xn--a.wild.test",
  "wild.test",
  "127.0.0.1",
  "127.0.0.1:80",
  "127.0.0.2",
  "[::1]:80",
];

function clusterOf(name: string, kind: Kind, port: number): string {
  const { http, tls = "", validation, hostname } = kind;
  const context = [trusted, ...(validation === undefined ? [] : [validation])].join(", ");
  const endpoint = `{endpoint: {${hostname === undefined ? "" : `hostname: ${hostname}, `}address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;
  const fields = [
    `name: ${name}`,
    "connect_timeout: 5s",
    `load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoint}]}]}`,
    `transport_socket: {name: tls, typed_config: {"@type": ${upstreamTls}, max_session_keys: 0, common_tls_context: {validation_context: {${context}}}${tls === "" ? "" : `, ${tls}`}}}`,
  ];
  if (http !== undefined) {
    fields.push(
      `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${httpOptions}, explicit_http_config: {http_protocol_options: {}}, upstream_http_protocol_options: {${http}}}}`,
    );
  }
  return `{${fields.join(", ")}}`;
}

before(async () => {
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: Object.entries(kinds).map(([name, kind]) => clusterOf(name, kind, port)),
      routes: Object.entries(kinds).map(
        ([name, { route }]) =>
          `{match: {prefix: /${name}/}, route: {cluster: ${name}${route === undefined ? "" : `, ${route}`}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  server.closeAllConnections();
  server.close();
});

const secondHeader = "x-server";

for (const name of Object.keys(kinds)) {
  test(`'${name}' asks for, and believes, the same servers`, async () => {
    const byPlane = await Promise.all(
      planes.map(async (plane) => {
        const found: string[] = [];
        for (const host of hosts) {
          const { status, body } = await plane.ask(`/${name}/`, { host });
          found.push(`${host}: ${status} ${status === 200 ? body : ""}`);
        }
        for (const told of ["catalog.test", "other.test:1", ""]) {
          const headers = { host: "fixed.test", [secondHeader]: told };
          const { status, body } = await plane.ask(`/${name}/`, headers);
          found.push(`header ${told}: ${status} ${status === 200 ? body : ""}`);
        }
        return found;
      }),
    );
    const expected = byPlane.at(-1) ?? [];
    for (const [i, plane] of planes.entries()) assert.deepEqual(byPlane[i], expected, plane.name);
    assert.ok(expected.some((line) => name.includes("other") || line.includes(" 200 ")));
  });
}
