/**
 * Which of several certificates clients are shown, and what parameters of TLS come to: under Heddle's data
 * plane (both I/O backends, and data workers) and under Envoy, which runs the same file.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { makeTestAuthority, type TestCertificate } from "../../support/test-certificates.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const authority = await makeTestAuthority();
const issue = (key: "ec" | "rsa", ...dnsNames: string[]): Promise<TestCertificate> =>
  authority.issue({ dnsNames, key });
const certificates = {
  ecShop: await issue("ec", "shop.test"),
  rsaShop: await issue("rsa", "shop.test", "www.shop.test"),
  ecCart: await issue("ec", "cart.test"),
  ecWild: await issue("ec", "*.wild.test"),
  rsaWild: await issue("rsa", "*.wild.test"),
} as const;
type Name = keyof typeof certificates;

const doors = {
  inspected: { own: ["ecShop", "rsaShop", "ecCart", "ecWild", "rsaWild"], isInspected: true },
  plain: { own: ["ecShop", "rsaShop", "ecCart", "ecWild", "rsaWild"] },
  scanning: {
    own: ["ecCart", "rsaShop", "rsaWild"],
    more: { full_scan_certs_on_sni_mismatch: true },
  },
  rsaFirst: { own: ["rsaWild", "ecCart", "ecShop"] },
  secrets: { own: ["ecCart", "ecShop", "rsaShop"], isBySecret: true },
  signing: {
    own: ["rsaShop"],
    params: { signature_algorithms: ["rsa_pss_rsae_sha512"] },
  },
  ownCiphers: {
    own: ["rsaShop"],
    params: {
      tls_maximum_protocol_version: "TLSv1_2",
      cipher_suites: ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
    },
  },
  theirCiphers: {
    own: ["rsaShop"],
    more: { prefer_client_ciphers: true },
    params: {
      tls_maximum_protocol_version: "TLSv1_2",
      cipher_suites: ["ECDHE-RSA-AES256-GCM-SHA384", "ECDHE-RSA-AES128-GCM-SHA256"],
    },
  },
  oneCurve: { own: ["ecShop"], params: { ecdh_curves: ["P-384"] } },
  modern: { own: ["ecShop"], params: { tls_minimum_protocol_version: "TLSv1_3" } },
} as const satisfies Record<string, DoorPlan>;
type Door = keyof typeof doors;

interface DoorPlan {
  readonly own: readonly Name[];
  readonly isInspected?: boolean;
  readonly isBySecret?: boolean;
  readonly more?: object;
  readonly params?: object;
}

const extensions = "type.googleapis.com/envoy.extensions";
const inline = ({ chainPem, privateKeyPem }: TestCertificate): object => ({
  certificate_chain: { inline_string: chainPem },
  private_key: { inline_string: privateKeyPem },
});

const tellingRoute = {
  match: { prefix: "/" },
  direct_response: { status: 200 },
  response_headers_to_add: [{ header: { key: "x-own", value: "%DOWNSTREAM_LOCAL_DNS_SAN%" } }],
};

function listenerOf(name: string, plan: DoorPlan, port: number): object {
  const { own, isInspected = false, isBySecret = false, more = {}, params } = plan;
  const context = {
    "@type": `${extensions}.transport_sockets.tls.v3.DownstreamTlsContext`,
    common_tls_context: {
      ...(isBySecret
        ? { tls_certificate_sds_secret_configs: own.map((one) => ({ name: one })) }
        : { tls_certificates: own.map((one) => inline(certificates[one])) }),
      ...(params === undefined ? {} : { tls_params: params }),
    },
    ...more,
  };
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    http_filters: [
      { name: "router", typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` } },
    ],
    route_config: {
      virtual_hosts: [{ name: "all", domains: ["*"], routes: [tellingRoute] }],
    },
  };
  const inspector = {
    name: "inspector",
    typed_config: { "@type": `${extensions}.filters.listener.tls_inspector.v3.TlsInspector` },
  };
  return {
    name,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    listener_filters: isInspected ? [inspector] : [],
    filter_chains: [
      {
        transport_socket: { name: "tls", typed_config: context },
        filters: [{ name: "http", typed_config: manager }],
      },
    ],
  };
}

let planes: Planes<Door> | undefined;
const doorNames = Object.keys(doors) as readonly Door[];

before(async () => {
  planes = await startPlanes(doorNames, (ports) =>
    JSON.stringify({
      static_resources: {
        secrets: Object.entries(certificates).map(([name, one]) => ({
          name,
          tls_certificate: inline(one),
        })),
        listeners: Object.entries(doors).map(([name, plan]) =>
          listenerOf(name, plan, ports[name as Door]),
        ),
      },
    }),
  );
});

after(async () => planes?.close());

const clients = {
  usual: {},
  "of RSA": { sigalgs: "rsa_pss_rsae_sha256:rsa_pkcs1_sha256" },
  "of RSA first": { sigalgs: "rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256" },
  "of curves": { sigalgs: "ecdsa_secp256r1_sha256" },
  "of TLS 1.2": { maxVersion: "TLSv1.2" },
  "of TLS 1.2 and RSA": { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" },
  "of TLS 1.2 with an order": {
    maxVersion: "TLSv1.2",
    ciphers: "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384",
  },
  "of X25519": { ecdhCurve: "X25519" },
} as const satisfies Record<string, tls.ConnectionOptions>;
type Client = keyof typeof clients;

const byPrint = new Map(
  Object.entries(certificates).map(([name, { chainPem }]) => [
    new X509Certificate(chainPem).fingerprint256,
    name,
  ]),
);

/** The certificate, the version, and the cipher of TLS 1.2; or `refused`. */
function shown(plane: PlaneName, door: Door, client: Client, servername: string): Promise<string> {
  assert.ok(planes !== undefined);
  const port = planes.port(plane, door);
  return new Promise((resolve) => {
    const socket = tls.connect({
      host: "127.0.0.1",
      port,
      rejectUnauthorized: false,
      ...(servername === "" ? {} : { servername }),
      ...clients[client],
    });
    socket.once("secureConnect", () => {
      const name = byPrint.get(socket.getPeerX509Certificate()?.fingerprint256 ?? "");
      const version = socket.getProtocol() ?? "";
      // Nobody configures the order of those of TLS 1.3.
      const cipher = version === "TLSv1.3" ? "" : ` ${socket.getCipher().name}`;
      resolve(`${name ?? "another"} ${version}${cipher}`);
      socket.destroy();
    });
    socket.once("error", () => resolve("refused"));
    socket.once("close", () => resolve("refused"));
  });
}

const names = ["", "shop.test", "SHOP.test", "www.shop.test", "cart.test", "a.wild.test"] as const;
const others = ["b.a.wild.test", "nobody.test"] as const;

for (const door of doorNames) {
  test(`clients of ${door} are shown what Envoy shows`, async () => {
    const seen = new Set<string>();
    for (const client of Object.keys(clients) as readonly Client[]) {
      for (const name of [...names, ...others]) {
        // Envoy compares names as they come; RFC 6066 section 3 has them in any case.
        const expected = await shown("envoy", door, client, name.toLowerCase());
        seen.add(expected);
        for (const plane of planeNames) {
          const found = await shown(plane, door, client, name);
          assert.equal(found, expected, `${plane}: a client ${client} asks for '${name}'`);
        }
      }
    }
    assert.ok(seen.size > 1 || door === "modern", [...seen].join());
  });
}

/** Names of the certificate that a client is shown, and those that logs and headers have; none: it is refused. */
function told(plane: PlaneName, client: Client, servername: string): Promise<readonly string[]> {
  assert.ok(planes !== undefined);
  const port = planes.port(plane, "plain");
  return new Promise((resolve) => {
    const options = { host: "127.0.0.1", port, rejectUnauthorized: false, ...clients[client] };
    const socket = tls.connect({ ...options, ...(servername === "" ? {} : { servername }) });
    let answer = "";
    socket.once("secureConnect", () => socket.write("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
      if (!answer.includes("\r\n\r\n")) return;
      const own = socket.getPeerX509Certificate()?.subjectAltName ?? "";
      const said = /^x-own: (.*)$/m.exec(answer)?.[1] ?? "";
      resolve([own.replaceAll("DNS:", "").replaceAll(" ", ""), said.trim()]);
      socket.destroy();
    });
    socket.once("error", () => resolve([]));
  });
}

test("names of our own certificate are those of the one that the client was shown", async () => {
  const seen = new Set<string>();
  for (const plane of ["envoy", ...planeNames] as const) {
    for (const client of ["usual", "of RSA", "of TLS 1.2 and RSA"] as const) {
      for (const name of ["", "shop.test", "cart.test", "a.wild.test"]) {
        const [shownNames = "", saidNames = ""] = await told(plane, client, name);
        assert.equal(saidNames, shownNames, `${plane}: a client ${client} asks for '${name}'`);
        seen.add(shownNames);
      }
    }
  }
  assert.ok(seen.size > 2, [...seen].join(" "));
});
