/** The file that both data planes run to compare what routes, routers and connection managers may say. */
import { clusterText, extensions, httpListenerText, type HttpText } from "./bootstrap-text.ts";
import type { Backends } from "./scenario-bootstrap.ts";
import type { Place } from "./scenario-proxies.ts";

const filters = `${extensions}.filters.http`;
const faultType = `${filters}.fault.v3.HTTPFault`;
const corsType = `${filters}.cors.v3.CorsPolicy`;

export function optionBootstrap({ application, closed }: Backends): (place: Place) => string {
  return ({ ports, logFile }) => `
static_resources:
  clusters:
  - ${cluster("app", application)}
  - ${cluster("refused", closed)}
  - ${cluster("full", application, "circuit_breakers: {thresholds: [{max_requests: 0}]}, ")}
  listeners:
  - ${listener("mesh", ports.mesh, { logFile, http: routed })}
  - ${listener("edge", ports.edge, { logFile, http: quiet })}
  - ${listener("behind", ports.behind, { logFile, http: strict })}
  - ${listener("client", ports.client, { logFile, http: heeding })}
  - ${listener("server", ports.server, { logFile, http: optional })}
`;
}

function cluster(name: string, port: number, more = ""): string {
  const http = `{"@type": ${extensions}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http_protocol_options: {enable_trailers: true}}}`;
  return clusterText(
    name,
    port,
    `${more}typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: ${http}}`,
  );
}

const format =
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% out=%BYTES_SENT% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER%";

function listener(
  name: string,
  port: number,
  { logFile, http }: { readonly logFile: string; readonly http: HttpText },
): string {
  const settings = `
          delayed_close_timeout: 0.03s
          internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}${http.settings ?? ""}`;
  return httpListenerText(name, port, { ...http, settings, log: { file: logFile, format } });
}

const all = "numerator: 100";
const slow = (limit: string): string =>
  `typed_per_filter_config: {fault: {"@type": ${faultType}, ${limit}}}`;
const rate = (fields: string): string => slow(`response_rate_limit: {${fields}}`);
const policy = `allow_origin_string_match: [{exact: "https://shop.test"}], allow_methods: "GET, PUT", allow_headers: x-a, expose_headers: x-b, max_age: "60", allow_credentials: true`;
const retries =
  "retry_policy: {retry_on: 5xx, num_retries: 2, retry_back_off: {base_interval: 0.005s}}";
const app = "route: {cluster: app}";

/** What routes say. */
const routed: HttpText = {
  settings: `
          http_protocol_options: {enable_trailers: true}`,
  filters: `
          - name: fault
            typed_config: {"@type": ${faultType}}
          - name: cors
            typed_config: {"@type": ${filters}.cors.v3.Cors}`,
  virtualHosts: `
            - name: own-policies
              domains: [cors.test]
              cors: {${policy}, allow_private_network_access: true}
              routes:
              - {name: below, match: {prefix: /below/}, ${app}}
              - {name: own, match: {prefix: /own/}, route: {cluster: app, cors: {allow_methods: "*", allow_headers: "*", allow_credentials: false}}}
              - {name: closed, match: {prefix: /closed/}, route: {cluster: app, cors: {filter_enabled: {default_value: {numerator: 0}}}}}
              - {name: shadowed, match: {prefix: /shadowed/}, route: {cluster: app, cors: {filter_enabled: {default_value: {numerator: 0}}, shadow_enabled: {default_value: {${all}}}}}}
              - {name: stopped, match: {prefix: /stopped/}, route: {cluster: app, cors: {forward_not_matching_preflights: false}}}
              - {name: everybody, match: {prefix: /everybody/}, route: {cluster: app, cors: {allow_origin_string_match: [{exact: "*"}]}}}
              - {name: newer, match: {prefix: /newer/}, route: {cluster: app, cors: {allow_methods: DELETE}}, typed_per_filter_config: {cors: {"@type": ${corsType}, allow_origin_string_match: [{suffix: .test}], allow_methods: PATCH}}}
              - {name: answers, match: {prefix: /answers}, direct_response: {status: 200, body: {inline_string: here}}}
            - name: layered
              domains: [layered.test]
              typed_per_filter_config: {cors: {"@type": ${corsType}, ${policy}}}
              routes:
              - {name: layer, match: {prefix: /}, ${app}, typed_per_filter_config: {cors: {"@type": ${corsType}, allow_methods: PATCH}}}
            - name: keeps-little
              domains: [little.test]
              per_request_buffer_limit_bytes: 4
              routes:
              - {name: host, match: {prefix: /host/}, route: {cluster: app, ${retries}}}
              - {name: route, match: {prefix: /route/}, per_request_buffer_limit_bytes: 100, route: {cluster: app, ${retries}}}
              - {name: whole, match: {prefix: /whole/}, request_body_buffer_limit: 100, route: {cluster: app, ${retries}}}
              - {name: nothing, match: {prefix: /nothing/}, per_request_buffer_limit_bytes: 0, route: {cluster: app, ${retries}}}
            - name: keeps-nothing
              domains: [nothing.test]
              request_body_buffer_limit: 0
              routes:
              - {name: host, match: {prefix: /host/}, per_request_buffer_limit_bytes: 100, route: {cluster: app, ${retries}}}
              - {name: route, match: {prefix: /route/}, request_body_buffer_limit: 3, route: {cluster: app, ${retries}}}
            - name: all
              domains: ["*"]
              routes:
              - {name: slow, match: {prefix: /slow/}, ${app}, ${rate(`fixed_limit: {limit_kbps: 4}, percentage: {${all}}`)}}
              - {name: never, match: {prefix: /never/}, ${app}, ${rate("fixed_limit: {limit_kbps: 1}")}}
              - {name: asked, match: {prefix: /asked/}, ${app}, ${rate(`header_limit: {}, percentage: {${all}}`)}}
              - {name: aborted, match: {prefix: /aborted}, ${app}, ${slow(`response_rate_limit: {fixed_limit: {limit_kbps: 1}, percentage: {${all}}}, abort: {http_status: 503, percentage: {${all}}, response_body: "${"no ".repeat(40)}"}`)}}
              - {name: full, match: {prefix: /full/}, ${app}, ${slow(`max_active_faults: 0, abort: {http_status: 503, percentage: {${all}}}`)}}
              - {name: local, match: {prefix: /local}, non_forwarding_action: {}}
              - {name: plain-presented, match: {path: /presented, tls_context: {presented: true}}, ${app}}
              - {name: plain-validated, match: {path: /validated, tls_context: {validated: true}}, ${app}}
              - {name: plain-neither, match: {path: /neither, tls_context: {presented: false, validated: false}}, ${app}}
              - {name: rest, match: {prefix: /}, ${app}}`,
};

const rewritten = `
            - name: all
              domains: ["*"]
              include_request_attempt_count: true
              include_attempt_count_in_response: true
              routes:
              - {name: rewritten, match: {prefix: /rewritten/}, route: {cluster: app, prefix_rewrite: /app/, host_rewrite_literal: other.test}}
              - {name: overflowing, match: {prefix: /overflowing}, route: {cluster: full}}
              - {name: redirected, match: {prefix: /redirected/}, route: {cluster: app, internal_redirect_policy: {}}}
              - {name: tried, match: {prefix: /tried/}, route: {cluster: app, retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.1s, retry_back_off: {base_interval: 0.005s}}}}
              - {name: endless, match: {prefix: /endless/}, route: {cluster: app, timeout: 0s}}
              - {name: rest, match: {prefix: /}, route: {cluster: app}}`;

/** The router says nothing of itself. */
const quiet: HttpText = {
  settings: `
          http_protocol_options: {allow_absolute_url: false}`,
  router: ", suppress_envoy_headers: true, start_child_span: true",
  virtualHosts: rewritten,
};

/** What clients ask of the router must be sound. */
const strict: HttpText = {
  settings: `
          stream_error_on_invalid_http_message: true`,
  router:
    ", strict_check_headers: [x-envoy-upstream-rq-timeout-ms, x-envoy-upstream-rq-per-try-timeout-ms, x-envoy-max-retries, x-envoy-retry-on, x-envoy-retry-grpc-on]",
  virtualHosts: `
            - {name: own, domains: [own.test], routes: [{match: {prefix: /app}, ${app}}, {match: {prefix: /direct}, direct_response: {status: 200}}]}`,
};

/** A proxy before this one tells how much time there is. */
const heeding: HttpText = {
  settings: `
          strip_matching_host_port: true`,
  router: ", respect_expected_rq_timeout: true",
  virtualHosts: rewritten,
};

const unknown = `{"@type": type.googleapis.com/xds.type.v3.TypedStruct, type_url: type.googleapis.com/not.known.Filter}`;

/** Filters that nobody knows, and what may be left out. */
const optional: HttpText = {
  filters: `
          - {name: unknown, is_optional: true, typed_config: ${unknown}}`,
  virtualHosts: `
            - {name: all, domains: ["*"], routes: [{match: {prefix: /}, ${app}, typed_per_filter_config: {unknown: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, is_optional: true, config: ${unknown}}}}]}`,
};
