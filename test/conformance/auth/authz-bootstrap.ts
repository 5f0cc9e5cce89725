/** The one file that both data planes run for external authorization. */
import type { Place } from "../proxy/scenario-proxies.ts";

const type = (name: string): { readonly "@type": string } => ({
  "@type": `type.googleapis.com/envoy.extensions.${name}`,
});
const filterType = (name: string): { readonly "@type": string } => type(`filters.http.${name}`);
const named = (...patterns: readonly object[]): object => ({ patterns });
const service = (cluster: string, more: object = {}): object => ({
  http_service: {
    server_uri: { uri: `http://${cluster}.test/ignored`, cluster, timeout: "1s" },
    ...more,
  },
});

/** Each has a listener of its own. */
const filters = {
  mesh: {
    ...service("authz", {
      path_prefix: "/check",
      authorization_request: {
        headers_to_add: [
          { key: "x-added", value: "by the proxy" },
          { key: "X-Client", value: "%REQ(user-agent)%" },
        ],
      },
      authorization_response: {
        allowed_upstream_headers: named(
          { prefix: "x-user" },
          { exact: "Cookie", ignore_case: true },
        ),
        allowed_upstream_headers_to_append: named({ exact: "x-groups" }),
        allowed_client_headers_on_success: named({ exact: "x-told" }, { exact: "set-cookie" }),
        dynamic_metadata_from_headers: named({ prefix: "x-meta" }),
      },
    }),
    allowed_headers: named({ exact: "x-sent" }, { prefix: "x-several" }, { exact: "content-type" }),
    disallowed_headers: named({ suffix: "-secret" }),
    clear_route_cache: true,
  },
  edge: {
    ...service("authz", {
      authorization_response: { allowed_client_headers: named({ exact: "x-reason" }) },
    }),
    with_request_body: { max_request_bytes: 10, allow_partial_message: false },
    status_on_error: { code: 503 },
  },
  behind: {
    ...service("authz"),
    failure_mode_allow: true,
    enable_dynamic_metadata_ingestion: false,
    max_denied_response_body_bytes: 3,
    failure_mode_allow_header_add: true,
    with_request_body: { max_request_bytes: 10, allow_partial_message: true, pack_as_bytes: true },
    stat_prefix: "lenient",
  },
  client: { ...service("refused"), deny_at_disable: enabled("deny", true), ...halfEnabled() },
  server: { ...service("authz", { path_override: "/always/denied?q" }), ...halfEnabled() },
};

function enabled(runtime_key: string, default_value: boolean): object {
  return { runtime_key, default_value };
}

/** As Istio does: a rehearsed policy says who is asked about. */
function halfEnabled(): object {
  return {
    filter_enabled_metadata: {
      filter: "envoy.filters.http.rbac",
      path: [{ key: "custom-shadow_effective_policy_id" }],
      value: { string_match: { prefix: "asked" } },
    },
  };
}

const rehearsal = {
  name: "rbac",
  typed_config: {
    ...filterType("rbac.v3.RBAC"),
    shadow_rules: {
      action: "DENY",
      policies: {
        asked: {
          permissions: [{ url_path: { path: { prefix: "/asked" } } }],
          principals: [{ any: true }],
        },
      },
    },
    shadow_rules_stat_prefix: "custom-",
  },
};

function cluster(name: string, port: number): object {
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  return {
    name,
    connect_timeout: "1s",
    type: "STATIC",
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address } }] }],
    },
  };
}

export interface AuthzBackends {
  readonly application: number;
  readonly authz: number;
  readonly refused: number;
}

const perRoute = (fields: object): object => ({
  typed_per_filter_config: { authz: { ...filterType("ext_authz.v3.ExtAuthzPerRoute"), ...fields } },
});

export function authzBootstrap(ports: AuthzBackends): (place: Place) => string {
  const to = { route: { cluster: "app" } };
  const routes = [
    { match: { prefix: "/off" }, ...to, ...perRoute({ disabled: true }) },
    {
      match: { prefix: "/without" },
      ...to,
      ...perRoute({ check_settings: { disable_request_body_buffering: true } }),
    },
    {
      match: { prefix: "/more" },
      ...to,
      ...perRoute({
        check_settings: {
          with_request_body: { max_request_bytes: 20 },
          context_extensions: { a: "b" },
        },
      }),
    },
    {
      match: { prefix: "/again" },
      ...to,
      ...perRoute({
        check_settings: service("authz", {
          retry_policy: {
            num_retries: 1,
            retry_on: "5xx",
            retry_back_off: { base_interval: "0.01s", max_interval: "0.5s" },
          },
        }),
      }),
    },
    {
      match: { prefix: "/", headers: [{ name: "x-user-route", present_match: true }] },
      direct_response: { status: 418, body: { inline_string: "rerouted" } },
    },
    { match: { prefix: "/" }, ...to },
  ];
  const format = `%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.ext_authz:x-meta-a)% %DYNAMIC_METADATA(envoy.filters.http.rbac:custom-shadow_engine_result)%\n`;
  return ({ ports: doors, logFile }) => {
    const listener = (name: keyof typeof filters): object => ({
      name,
      address: { socket_address: { address: "127.0.0.1", port_value: doors[name] } },
      filter_chains: [
        {
          filters: [
            {
              name: "http",
              typed_config: {
                ...type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                stat_prefix: name,
                stream_idle_timeout: "2s",
                upgrade_configs: [{ upgrade_type: "websocket" }],
                access_log: [
                  {
                    name: "file",
                    typed_config: {
                      ...type("access_loggers.file.v3.FileAccessLog"),
                      path: logFile,
                      log_format: { text_format_source: { inline_string: format } },
                    },
                  },
                ],
                route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
                http_filters: [
                  rehearsal,
                  {
                    name: "authz",
                    typed_config: {
                      ...filterType("ext_authz.v3.ExtAuthz"),
                      transport_api_version: "V3",
                      ...filters[name],
                    },
                  },
                  { name: "router", typed_config: filterType("router.v3.Router") },
                ],
              },
            },
          ],
        },
      ],
    });
    return JSON.stringify({
      static_resources: {
        clusters: [
          cluster("app", ports.application),
          cluster("authz", ports.authz),
          cluster("refused", ports.refused),
        ],
        listeners: [
          listener("mesh"),
          listener("edge"),
          listener("behind"),
          listener("client"),
          listener("server"),
        ],
      },
    });
  };
}
