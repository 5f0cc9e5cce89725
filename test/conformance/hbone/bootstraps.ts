/** Bootstraps of proxies that open HBONE tunnels, and of those that tunnels end at; the same for Envoy. */
import type { TestCertificate } from "../../support/test-certificates.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const tcpUrl = `${extensions}.filters.network.tcp_proxy.v3.TcpProxy`;
const httpUrl = `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`;

export interface Credentials {
  readonly rootPem: string;
  readonly certificate: TestCertificate;
}

export function socketAddress(port: number, address = "127.0.0.1"): object {
  return { socket_address: { address, port_value: port } };
}

export function internalAddress(listener: string, endpointId?: string): object {
  return {
    envoy_internal_address: {
      server_listener_name: listener,
      ...(endpointId === undefined ? {} : { endpoint_id: endpointId }),
    },
  };
}

export function staticCluster(name: string, address: object, more: object = {}): object {
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  const load_assignment = { cluster_name: name, endpoints };
  return { name, connect_timeout: "2s", type: "STATIC", load_assignment, ...more };
}

export function secured(side: "Upstream" | "Downstream", credentials: Credentials): object {
  const { rootPem, certificate } = credentials;
  const context = {
    "@type": `${extensions}.transport_sockets.tls.v3.${side}TlsContext`,
    ...(side === "Downstream" ? { require_client_certificate: true } : {}),
    common_tls_context: {
      alpn_protocols: ["h2"],
      tls_certificates: [
        {
          certificate_chain: { inline_string: certificate.chainPem },
          private_key: { inline_string: certificate.privateKeyPem },
        },
      ],
      validation_context: {
        trusted_ca: { inline_string: rootPem },
        match_typed_subject_alt_names: [
          { san_type: "URI", matcher: { prefix: "spiffe://cluster.local/" } },
        ],
      },
    },
  };
  return { name: "envoy.transport_sockets.tls", typed_config: context };
}

/** As ztunnel has it: so many streams for each connection, and PINGs. */
export function http2Options(more: object = {}): object {
  const http2_protocol_options = {
    max_concurrent_streams: 100,
    connection_keepalive: { interval: "10s", timeout: "20s" },
    ...more,
  };
  return {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
      "@type": `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http2_protocol_options },
    },
  };
}

export function tcpFilter(cluster: string, more: object = {}): object {
  return { name: "tcp", typed_config: { "@type": tcpUrl, stat_prefix: cluster, cluster, ...more } };
}

export function fileLog(path: string, format: string): object {
  const log_format = { text_format_source: { inline_string: `${format}\n` } };
  const url = `${extensions}.access_loggers.file.v3.FileAccessLog`;
  return { name: "file", typed_config: { "@type": url, path, log_format } };
}

export function listener(name: string, port: number, chain: object, more: object = {}): object {
  return { name, address: socketAddress(port), filter_chains: [chain], ...more };
}

/** Ends tunnels: to `cluster`, for the authorities that `domains` name. */
export function connectManager(
  routes: readonly { readonly domains: readonly string[]; readonly cluster: string }[],
  more: object = {},
  filters: readonly object[] = [],
): object {
  const virtual_hosts = routes.map(({ domains, cluster }, i) => ({
    name: `to-${i}`,
    domains,
    routes: [
      {
        match: { connect_matcher: {} },
        route: { cluster, upgrade_configs: [{ upgrade_type: "CONNECT", connect_config: {} }] },
      },
    ],
  }));
  const router = {
    name: "envoy.filters.http.router",
    typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
  };
  const typed_config = {
    "@type": httpUrl,
    stat_prefix: "connect",
    http2_protocol_options: { allow_connect: true, max_concurrent_streams: 100 },
    route_config: { name: "connect", virtual_hosts },
    http_filters: [...filters, router],
    ...more,
  };
  return { name: "hcm", typed_config };
}

export function tunnelTo(
  hostname: string,
  headers: readonly (readonly [name: string, value: string])[] = [],
): object {
  const headers_to_add = headers.map(([key, value]) => ({ header: { key, value } }));
  return { tunneling_config: { hostname, headers_to_add } };
}

/** Envoy wants to know at its start that there will be listeners inside. */
export const internalListeners: object = {
  name: "envoy.bootstrap.internal_listener",
  typed_config: {
    "@type": "type.googleapis.com/udpa.type.v1.TypedStruct",
    type_url: `${extensions}.bootstrap.internal_listener.v3.InternalListener`,
  },
};

export const originalDestination: object = {
  name: "envoy.filters.listener.original_dst",
  typed_config: { "@type": `${extensions}.filters.listener.original_dst.v3.OriginalDst` },
};

export function internalListener(
  name: string,
  chain: object,
  listener_filters: readonly object[] = [],
): object {
  return { name, internal_listener: {}, listener_filters, filter_chains: [chain] };
}

/** `names`: of metadata of endpoints that the listener is told. */
export function internalSocket(names: readonly string[]): object {
  return {
    name: "envoy.transport_sockets.internal_upstream",
    typed_config: {
      "@type": `${extensions}.transport_sockets.internal_upstream.v3.InternalUpstreamTransport`,
      passthrough_metadata: names.map((name) => ({ kind: { host: {} }, name })),
      transport_socket: {
        name: "envoy.transport_sockets.raw_buffer",
        typed_config: { "@type": `${extensions}.transport_sockets.raw_buffer.v3.RawBuffer` },
      },
    },
  };
}

/** Texts by key, for the listener that a tunnel ends at. */
export function setState(formats: Readonly<Record<string, string>>): object {
  const on_request_headers = Object.entries(formats).map(([object_key, text]) => ({
    object_key,
    ...(object_key.startsWith("envoy.") ? {} : { factory_key: "envoy.string" }),
    format_string: { text_format_source: { inline_string: text } },
    shared_with_upstream: "ONCE",
  }));
  const url = `${extensions}.filters.http.set_filter_state.v3.Config`;
  return { name: "state", typed_config: { "@type": url, on_request_headers } };
}
