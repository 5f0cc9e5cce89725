/** The file that both data planes run to compare their HTTP filters: each on routes of its own. */
import type { Backends } from "./scenario-bootstrap.ts";
import type { Place } from "./scenario-proxies.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const filters = `${extensions}.filters.http`;
const rateLimit = `${filters}.local_ratelimit.v3.LocalRateLimit`;
const router = `
          - name: envoy.filters.http.router
            typed_config: {"@type": ${filters}.router.v3.Router}`;

export function filterBootstrap({ application, closed }: Backends): (place: Place) => string {
  return ({ ports, logFile }) => `
static_resources:
  clusters:
  - ${cluster("app", application)}
  - ${cluster("refused", closed)}
  listeners:
  - ${listener("mesh", ports.mesh, { logFile, http: limited })}
  - ${listener("edge", ports.edge, { logFile, http: whole })}
`;
}

function cluster(name: string, port: number): string {
  const endpoint = `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;
  return `{name: ${name}, connect_timeout: 1s, type: STATIC, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoint}]}]}}`;
}

interface Http {
  /** Of the connection manager. */
  readonly settings?: string;
  readonly filters: string;
  readonly virtualHosts: string;
}

function listener(
  name: string,
  port: number,
  { logFile, http }: { readonly logFile: string; readonly http: Http },
): string {
  return `name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: ${name}
          delayed_close_timeout: 0.03s${http.settings ?? ""}
          access_log:
          - name: envoy.access_loggers.file
            typed_config:
              "@type": ${extensions}.access_loggers.file.v3.FileAccessLog
              path: ${logFile}
              log_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% out=%BYTES_SENT% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER%\\n"}}
          http_filters:${http.filters}${router}
          route_config:
            name: ${name}
            validate_clusters: false
            virtual_hosts:${http.virtualHosts}`;
}

/** No token comes back while a test runs. */
const bucket = (tokens: number): string =>
  `{max_tokens: ${tokens}, tokens_per_fill: 1, fill_interval: 3600s}`;
const all = "default_value: {numerator: 100}";
const on = `filter_enabled: {${all}}, filter_enforced: {${all}}`;
const limit = (fields: string): string =>
  `typed_per_filter_config: {limit: {"@type": ${rateLimit}, stat_prefix: r, ${fields}}}`;
const key = (name: string, value: string, tokens: number, more = ""): string =>
  `{entries: [{key: ${name}, value: "${value}"}], token_bucket: ${bucket(tokens)}${more}}`;

const descriptors = [
  key("generic_key", "one", 1),
  key("user", "ann", 1),
  key("header_match", "beta", 1),
  key("query_match", "slow", 1),
  key("remote_address", "127.0.0.1", 1),
  key("masked_remote_address", "127.0.0.0/8", 1),
  key("destination_cluster", "app", 1),
  key("shadow", "", 1, ", shadow_mode: true"),
  key("each", "", 1),
  `{entries: [{key: generic_key, value: "two"}, {key: user, value: "bob"}], token_bucket: ${bucket(1)}}`,
].join(", ");

const actions: Readonly<Record<string, string>> = {
  generic: "{generic_key: {descriptor_value: one}}",
  user: "{request_headers: {header_name: x-user, descriptor_key: user}}",
  match:
    "{header_value_match: {descriptor_value: beta, headers: [{name: x-beta, string_match: {exact: '1'}}]}}",
  query:
    "{query_parameter_value_match: {descriptor_value: slow, query_parameters: [{name: slow, present_match: true}]}}",
  remote: "{remote_address: {}}",
  masked: "{masked_remote_address: {v4_prefix_mask_len: 8}}",
  cluster: "{destination_cluster: {}}",
  shadow: "{query_parameters: {query_parameter_name: s, descriptor_key: shadow}}",
  each: "{request_headers: {header_name: x-user, descriptor_key: each}}",
  both: "{generic_key: {descriptor_value: two}}, {request_headers: {header_name: x-user, descriptor_key: user, skip_if_absent: true}}",
};

const limited: Http = {
  filters: `
          - name: limit
            typed_config: {"@type": ${rateLimit}, stat_prefix: own}
          - name: off
            disabled: true
            typed_config: {"@type": ${rateLimit}, stat_prefix: off, token_bucket: ${bucket(1)}, ${on}}`,
  virtualHosts: `
            - name: host
              domains: [host.test]
              rate_limits: [{actions: [{generic_key: {descriptor_value: one}}]}]
              ${limit(`token_bucket: ${bucket(100)}, descriptors: [${key("generic_key", "one", 1)}], enable_x_ratelimit_headers: DRAFT_VERSION_03, ${on}`)}
              routes:
              - {name: own, match: {prefix: /own}, route: {cluster: app, rate_limits: [{actions: [{generic_key: {descriptor_value: other}}]}]}}
              - {name: both, match: {prefix: /both}, route: {cluster: app, include_vh_rate_limits: true, rate_limits: [{actions: [{generic_key: {descriptor_value: other}}]}]}}
              - {name: none, match: {prefix: /}, route: {cluster: app}}
            - name: all
              domains: ["*"]
              routes:
              - {name: plain, match: {prefix: /plain}, ${limit(`token_bucket: ${bucket(1)}, ${on}`)}, route: {cluster: app}}
              - {name: told, match: {prefix: /told}, ${limit(`token_bucket: ${bucket(2)}, enable_x_ratelimit_headers: DRAFT_VERSION_03, enable_retry_after_header: true, status: {code: 503}, response_headers_to_add: [{header: {key: x-limited, value: "yes"}}], ${on}`)}, route: {cluster: app}}
              - {name: later, match: {prefix: /later}, ${limit(`token_bucket: ${bucket(1)}, enable_retry_after_header: true, ${on}`)}, route: {cluster: app}}
              - {name: direct, match: {prefix: /direct}, ${limit(`token_bucket: ${bucket(1)}, enable_x_ratelimit_headers: DRAFT_VERSION_03, ${on}`)}, direct_response: {status: 200, body: {inline_string: here}}}
              - {name: exhausted, match: {prefix: /exhausted}, ${limit(`token_bucket: ${bucket(1)}, rate_limited_as_resource_exhausted: true, ${on}`)}, route: {cluster: app}}
              - {name: grpc, match: {prefix: /grpc}, ${limit(`token_bucket: ${bucket(1)}, ${on}`)}, route: {cluster: app}}
              - {name: off, match: {prefix: /off}, ${limit(`token_bucket: ${bucket(1)}`)}, route: {cluster: app}}
              - {name: lax, match: {prefix: /lax}, ${limit(`token_bucket: ${bucket(1)}, filter_enabled: {${all}}, request_headers_to_add_when_not_enforced: [{header: {key: x-over, value: "1"}}]`)}, route: {cluster: app}}
              - {name: connection, match: {prefix: /connection}, ${limit(`token_bucket: ${bucket(1)}, local_rate_limit_per_downstream_connection: true, ${on}`)}, route: {cluster: app}}
              - {name: embedded, match: {prefix: /embedded}, ${limit(`token_bucket: ${bucket(100)}, descriptors: [${key("user", "ann", 1)}], rate_limits: [{actions: [{request_headers: {header_name: x-user, descriptor_key: user}}]}], ${on}`)}, route: {cluster: app}}
              - {name: switched-on, match: {prefix: /switched-on}, typed_per_filter_config: {off: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, config: {}}}, route: {cluster: app}}
              - {name: switched-on-otherwise, match: {prefix: /switched-otherwise}, typed_per_filter_config: {off: {"@type": ${rateLimit}, stat_prefix: o, token_bucket: ${bucket(1)}, ${on}}}, route: {cluster: app}}
${Object.entries(actions)
  .map(
    ([name, action]) =>
      `              - {name: by-${name}, match: {prefix: /by-${name}}, ${limit(`token_bucket: ${bucket(100)}, descriptors: [${descriptors}], max_dynamic_descriptors: 2, enable_x_ratelimit_headers: DRAFT_VERSION_03, ${on}`)}, route: {cluster: app, rate_limits: [{actions: [${action}]}]}}`,
  )
  .join("\n")}
              - {name: all, match: {prefix: /app}, route: {cluster: app}}`,
};

const whole: Http = {
  filters: `
          - name: limit
            typed_config: {"@type": ${rateLimit}, stat_prefix: whole, token_bucket: ${bucket(1)}, ${on}}`,
  virtualHosts: `
            - name: all
              domains: ["*"]
              routes:
              - {name: free, match: {prefix: /free}, typed_per_filter_config: {limit: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}, route: {cluster: app}}
              - {name: all, match: {prefix: /}, route: {cluster: app}}`,
};
