/**
 * Under which names policies know a client: URIs, DNS names and subjects of certificates, over one file,
 * under Heddle's data plane (both I/O backends, and data workers) and under Envoy.
 */
import assert from "node:assert/strict";
import https from "node:https";
import { after, before, test } from "node:test";

import { makeTestAuthority, type TestCertificate } from "../../support/test-certificates.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";

const cart = "spiffe://cluster.local/ns/shop/sa/cart";
const authority = await makeTestAuthority();
const own = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/catalog"] });
const subject = [{ O: ["shop"] }, { CN: ["cart"] }];
const clients: Readonly<Record<string, TestCertificate | undefined>> = {
  all: await authority.issue({ uris: [cart], dnsNames: ["cart.test", "second.test"], subject }),
  names: await authority.issue({ dnsNames: ["cart.test", "second.test"], subject }),
  subject: await authority.issue({ subject }),
  parts: await authority.issue({
    subject: [{ O: ["shop"], CN: ["cart"], "2.5.4.17": ["1"] }, { "2.5.4.15": ["b"] }],
  }),
  none: undefined,
};

type Principal = object;
const named = (principal_name: object): Principal => ({ authenticated: { principal_name } });
const pattern = (regex: string): object => ({ safe_regex: { google_re2: {}, regex } });
const principals: Readonly<Record<string, Principal>> = {
  anyone: { authenticated: {} },
  uri: named({ exact: cart }),
  dns: named({ exact: "cart.test" }),
  secondDns: named({ exact: "second.test" }),
  subject: named({ exact: "CN=cart,O=shop" }),
  subjectPart: named({ contains: "cart" }),
  parts: named({ exact: "businessCategory=b,postalCode=1+CN=cart+O=shop" }),
  empty: named({ exact: "" }),
  something: named(pattern(".+")),
  everything: named(pattern(".*")),
  notDns: { not_id: named({ exact: "cart.test" }) },
  either: { or_ids: { ids: [named({ exact: "x" }), named({ exact: "second.test" })] } },
};

const extensions = "type.googleapis.com/envoy.extensions";
const ssl = `${extensions}.matching.common_inputs.ssl.v3`;
const rbac = `${extensions}.filters.http.rbac.v3`;

const asked = (input: string, exact: string): object => ({
  matcher: {
    matcher_list: {
      matchers: [
        {
          predicate: {
            single_predicate: {
              input: { name: "input", typed_config: { "@type": `${ssl}.${input}` } },
              value_match: { exact },
            },
          },
          on_match: {
            action: {
              name: "action",
              typed_config: {
                "@type": "type.googleapis.com/envoy.config.rbac.v3.Action",
                name: "p",
                action: "ALLOW",
              },
            },
          },
        },
      ],
    },
  },
});

const rules = (action: string, principal: Principal): object => ({
  rules: { action, policies: { p: { permissions: [{ any: true }], principals: [principal] } } },
});

const policies: Readonly<Record<string, object>> = {
  ...Object.fromEntries(
    Object.entries(principals).flatMap(([name, principal]) => [
      [`allow-${name}`, rules("ALLOW", principal)],
      [`deny-${name}`, rules("DENY", principal)],
    ]),
  ),
  "input-uri": asked("UriSanInput", cart),
  "input-dns": asked("DnsSanInput", "cart.test,second.test"),
  "input-subject": asked("SubjectInput", "CN=cart,O=shop"),
};

let planes: Planes<"in">;

before(async () => {
  planes = await startPlanes(["in"], (ports) => {
    const routes = Object.entries(policies).map(([name, policy]) => ({
      match: { path: `/${name}` },
      direct_response: { status: 200 },
      typed_per_filter_config: { rbac: { "@type": `${rbac}.RBACPerRoute`, rbac: policy } },
    }));
    const manager = {
      "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
      stat_prefix: "in",
      route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
      http_filters: [
        { name: "rbac", typed_config: { "@type": `${rbac}.RBAC` } },
        {
          name: "router",
          typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
        },
      ],
    };
    const context = {
      "@type": `${extensions}.transport_sockets.tls.v3.DownstreamTlsContext`,
      common_tls_context: {
        tls_certificates: [
          {
            certificate_chain: { inline_string: own.chainPem },
            private_key: { inline_string: own.privateKeyPem },
          },
        ],
        validation_context: { trusted_ca: { inline_string: authority.rootPem } },
      },
    };
    return JSON.stringify({
      static_resources: {
        listeners: [
          {
            name: "in",
            address: { socket_address: { address: "127.0.0.1", port_value: ports.in } },
            filter_chains: [
              {
                filters: [{ name: "http", typed_config: manager }],
                transport_socket: { name: "tls", typed_config: context },
              },
            ],
          },
        ],
      },
    });
  });
});

after(() => planes.close());

/** Which policies let a client pass, asked over one connection. */
async function passes(plane: PlaneName, client: TestCertificate | undefined): Promise<string[]> {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
  const shown = client === undefined ? {} : { cert: client.chainPem, key: client.privateKeyPem };
  const ask = (name: string): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const to = { host: "127.0.0.1", port: planes.port(plane, "in"), path: `/${name}` };
      const request = https.get({ ...to, ...shown, agent, rejectUnauthorized: false });
      request.on("error", reject);
      request.on("response", (answer) => {
        answer.resume();
        answer.on("end", () => resolve(answer.statusCode));
      });
    });
  try {
    const statuses: [string, number | undefined][] = [];
    for (const name of Object.keys(policies)) statuses.push([name, await ask(name)]);
    return statuses.filter(([, status]) => status === 200).map(([name]) => name);
  } finally {
    agent.destroy();
  }
}

for (const [name, client] of Object.entries(clients)) {
  test(`policies know a client as Envoy does: ${name}`, async () => {
    const wanted = await passes("envoy", client);
    for (const plane of planeNames) assert.deepEqual(await passes(plane, client), wanted, plane);
  });
}
