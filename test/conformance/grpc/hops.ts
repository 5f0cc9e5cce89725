/** Two proxies one behind the other, HTTP/2 with mutual TLS between them, as files that Envoy takes, too. */
import { makeTestAuthority } from "../../support/test-certificates.ts";

export type Hop = "outer" | "inner";

export interface HopPorts {
  readonly outer: number;
  readonly inner: number;
  readonly server: number;
}

export interface HopCertificates {
  readonly chainPem: string;
  readonly privateKeyPem: string;
  readonly rootPem: string;
}

const extensions = "type.googleapis.com/envoy.extensions";

export async function hopCertificates(): Promise<HopCertificates> {
  const authority = await makeTestAuthority();
  const issued = await authority.issue({ uris: ["spiffe://cluster.local/ns/default/sa/test"] });
  return {
    chainPem: issued.chainPem,
    privateKeyPem: issued.privateKeyPem,
    rootPem: authority.rootPem,
  };
}

/** `manager`, `route`, `cluster`: more of the connection manager, of its only route, and of that route's cluster. */
export function hopBootstrap(
  hop: Hop,
  ports: HopPorts,
  certificates: HopCertificates,
  more: { readonly manager?: object; readonly route?: object; readonly cluster?: object } = {},
): object {
  const isOuter = hop === "outer";
  const server = tls("DownstreamTlsContext", certificates, { require_client_certificate: true });
  const client = tls("UpstreamTlsContext", certificates, {});
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: hop,
    stream_idle_timeout: "0s",
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            { match: { prefix: "/" }, route: { cluster: "next", timeout: "0s", ...more.route } },
          ],
        },
      ],
    },
    http_filters: [
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
      },
    ],
    ...more.manager,
  };
  return {
    static_resources: {
      listeners: [
        {
          name: hop,
          address: address(ports[hop]),
          filter_chains: [
            {
              ...(isOuter ? {} : { transport_socket: server }),
              filters: [{ name: "http", typed_config: manager }],
            },
          ],
        },
      ],
      clusters: [
        {
          name: "next",
          type: "STATIC",
          connect_timeout: "5s",
          circuit_breakers: { thresholds: [{ max_retries: 1000 }] },
          ...(isOuter ? { transport_socket: client } : {}),
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          ...more.cluster,
          load_assignment: {
            cluster_name: "next",
            endpoints: [
              {
                lb_endpoints: [
                  { endpoint: { address: address(isOuter ? ports.inner : ports.server) } },
                ],
              },
            ],
          },
        },
      ],
    },
  };
}

function address(port: number): object {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}

function tls(kind: string, certificates: HopCertificates, more: object): object {
  const { chainPem, privateKeyPem, rootPem } = certificates;
  return {
    name: "tls",
    typed_config: {
      "@type": `${extensions}.transport_sockets.tls.v3.${kind}`,
      common_tls_context: {
        alpn_protocols: ["h2"],
        tls_certificates: [
          {
            certificate_chain: { inline_string: chainPem },
            private_key: { inline_string: privateKeyPem },
          },
        ],
        validation_context: { trusted_ca: { inline_string: rootPem } },
      },
      ...more,
    },
  };
}
