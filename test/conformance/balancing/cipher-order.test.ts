/** Which cipher suite a server chooses of those that its client knows, beside Envoy on the same file. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { makeTestAuthority } from "../../support/test-certificates.ts";
import { readKnownDifferences } from "../http1/known-differences.ts";
import { type Place, type Plane, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const authority = await makeTestAuthority();
const issued = await authority.issue({ dnsNames: ["shop.test"] });
const aes128 = "ECDHE-ECDSA-AES128-GCM-SHA256";
const aes256 = "ECDHE-ECDSA-AES256-GCM-SHA384";
const chaCha = "ECDHE-ECDSA-CHACHA20-POLY1305";

/** Names that clients ask for, and the suites that a server has for each. */
const servers: readonly (readonly [name: string, suites: readonly string[]])[] = [
  ["usual.test", []],
  ["ordered.test", [aes256, aes128, chaCha]],
  ["grouped.test", [`[${aes128}|${chaCha}]`, aes256]],
];

const manager = {
  name: "envoy.filters.network.http_connection_manager",
  typed_config: {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "test",
    http_filters: [
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
      },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, direct_response: { status: 200 } }],
        },
      ],
    },
  },
};

function chainOf(name: string, suites: readonly string[]): object {
  const certificate = {
    certificate_chain: { inline_string: issued.chainPem },
    private_key: { inline_string: issued.privateKeyPem },
  };
  return {
    filter_chain_match: { server_names: [name] },
    filters: [manager],
    transport_socket: {
      name: "envoy.transport_sockets.tls",
      typed_config: {
        "@type": `${extensions}.transport_sockets.tls.v3.DownstreamTlsContext`,
        common_tls_context: {
          tls_params: { cipher_suites: suites },
          tls_certificates: [certificate],
        },
      },
    },
  };
}

function textFor({ port, adminPort }: Place): string {
  const at = (portValue: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: portValue },
  });
  const inspector = {
    name: "envoy.filters.listener.tls_inspector",
    typed_config: { "@type": `${extensions}.filters.listener.tls_inspector.v3.TlsInspector` },
  };
  const plain = { filter_chain_match: { transport_protocol: "raw_buffer" }, filters: [manager] };
  const listener = {
    name: "test",
    address: at(port),
    listener_filters: [inspector],
    filter_chains: [plain, ...servers.map(([name, suites]) => chainOf(name, suites))],
  };
  return JSON.stringify({
    admin: { address: at(adminPort) },
    static_resources: { listeners: [listener] },
  });
}

let planes: readonly Plane[] = [];
before(async () => {
  planes = await startPlanes(textFor);
});
after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
});

/** By the standard name of the suite, for a client that wants them in this order. */
async function chosen(
  { port }: Plane,
  servername: string,
  ...[version, suites]: [tls.SecureVersion, readonly string[]]
): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = tls.connect({
    port,
    host: "127.0.0.1",
    servername,
    ca: authority.rootPem,
    checkServerIdentity: () => undefined,
    minVersion: version,
    maxVersion: version,
    ciphers: suites.join(":"),
  });
  socket.once("secureConnect", () => resolve(socket.getCipher().standardName));
  socket.once("error", reject);
  try {
    return await promise;
  } finally {
    socket.destroy();
  }
}

const older: readonly (readonly [name: string, suites: readonly string[], expected: string])[] = [
  ["usual.test", [aes256, aes128, chaCha], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
  ["usual.test", [aes256, chaCha], "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
  ["usual.test", [chaCha, aes128, aes256], "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
  ["usual.test", [aes128, chaCha], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
  ["ordered.test", [chaCha, aes128, aes256], "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
  ["ordered.test", [chaCha, aes128], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
  ["grouped.test", [chaCha, aes128, aes256], "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"],
  ["grouped.test", [aes256, aes128], "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
];

test("TLS 1.2: the server's order counts, and in a group of equals the client's", async () => {
  for (const [name, suites, expected] of older) {
    for (const plane of planes) {
      const found = await chosen(plane, name, "TLSv1.2", suites);
      assert.equal(found, expected, `${plane.name}, ${name}: ${suites.join(" ")}`);
    }
  }
});

const known = "TLS 1.3: AES of 128 bits is taken, though clients put 256 first";

test(known, async () => {
  assert.ok(readKnownDifferences().some(({ ciphers }) => ciphers.includes(known)));
  const suites = [
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "TLS_AES_128_GCM_SHA256",
  ];
  for (const plane of planes) {
    const found = await chosen(plane, "usual.test", "TLSv1.3", suites);
    // Envoy goes along with the client here: known-differences.md says why we do not.
    const expected = plane.isEnvoy ? "TLS_AES_256_GCM_SHA384" : "TLS_AES_128_GCM_SHA256";
    assert.equal(found, expected, plane.name);
    const only = await chosen(plane, "usual.test", "TLSv1.3", ["TLS_AES_256_GCM_SHA384"]);
    assert.equal(only, "TLS_AES_256_GCM_SHA384", plane.name);
  }
});
