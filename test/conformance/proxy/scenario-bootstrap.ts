/** The one file that both data planes run for the scenarios. */
import { clusterText, extensions, httpListenerText } from "./bootstrap-text.ts";
import type { Place } from "./scenario-proxies.ts";

export interface Backends {
  readonly application: number;
  /** Nobody listens there. */
  readonly closed: number;
}

export function scenarioBootstrap({ application, closed }: Backends): (place: Place) => string {
  return ({ ports, logFile }) => `
static_resources:
  clusters:
  - ${clusterText("app", application)}
  - ${clusterText("refused", closed)}
  - {name: empty, connect_timeout: 10s, type: STATIC, load_assignment: {cluster_name: empty}}
  - ${clusterText("no-connections", application, "circuit_breakers: {thresholds: [{max_connections: 0, max_pending_requests: 0}]}")}
  - ${clusterText("no-requests", application, "circuit_breakers: {thresholds: [{max_requests: 0}]}")}
  - ${clusterText("no-retries", application, "circuit_breakers: {thresholds: [{max_retries: 0}]}")}
  - ${clusterText("named", application).replace("{endpoint: {", "{endpoint: {hostname: backend.test, ")}
  listeners:
  - ${listener("mesh", ports.mesh, logFile, meshSettings)}
  - ${listener("edge", ports.edge, logFile, edgeSettings)}
  - ${listener("behind", ports.behind, logFile, behindSettings)}
  - ${listener("client", ports.client, logFile, tracedSettings)}
    traffic_direction: OUTBOUND
  - ${listener("server", ports.server, logFile, tracedSettings)}
    traffic_direction: INBOUND
`;
}

const meshSettings = `
          internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}
          stream_idle_timeout: 0.4s
          request_timeout: 0.3s
          request_headers_timeout: 0.25s
          normalize_path: true
          merge_slashes: true
          path_with_escaped_slashes_action: REJECT_REQUEST
          http_protocol_options: {accept_http_10: false}
          upgrade_configs: [{upgrade_type: websocket}]`;

const edgeSettings = `
          use_remote_address: true
          via: test-edge
          server_name: test-server
          append_x_forwarded_port: true
          strip_any_host_port: true
          strip_trailing_host_dot: false
          always_set_request_id_in_response: true
          path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT
          normalize_path: true
          common_http_protocol_options: {headers_with_underscores_action: REJECT_REQUEST}
          http_protocol_options: {accept_http_10: true, default_host_for_http_10: "old.test"}`;

const behindSettings = `
          use_remote_address: true
          xff_num_trusted_hops: 1
          skip_xff_append: false
          preserve_external_request_id: true
          server_header_transformation: PASS_THROUGH
          path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD
          normalize_path: true
          common_http_protocol_options: {headers_with_underscores_action: DROP_HEADER, max_headers_count: 12, max_requests_per_connection: 1}
          max_request_headers_kb: 8
          http_protocol_options: {enable_trailers: true}
          proxy_100_continue: true`;

/** Nothing is sampled, so nothing is sent to the collector that is not there. */
const tracedSettings = `
          tracing:
            random_sampling: {value: 0}
            provider:
              name: envoy.tracers.opentelemetry
              typed_config:
                "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                service_name: test
                http_service: {http_uri: {uri: "http://127.0.0.1/v1/traces", cluster: refused, timeout: 1s}}`;

const filters = `
          - name: envoy.filters.http.rbac
            typed_config: {"@type": ${extensions}.filters.http.rbac.v3.RBAC, rules: {action: DENY, policies: {secret: {principals: [{any: true}], permissions: [{url_path: {path: {prefix: /denied}}}]}, stranger: {principals: [{remote_ip: {address_prefix: 203.0.113.0, prefix_len: 24}}], permissions: [{url_path: {path: {prefix: /by-address}}}]}}}}
          - name: envoy.filters.http.fault
            typed_config: {"@type": ${extensions}.filters.http.fault.v3.HTTPFault}
          - name: envoy.filters.http.cors
            typed_config: {"@type": ${extensions}.filters.http.cors.v3.Cors}`;
const format =
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% attempts=%UPSTREAM_REQUEST_ATTEMPT_COUNT% in=%BYTES_RECEIVED% out=%BYTES_SENT% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER% %REQ(:METHOD)% %REQ(:AUTHORITY)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL% from=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% direct=%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%";

function listener(name: string, port: number, logFile: string, settings: string): string {
  return httpListenerText(name, port, {
    settings: `${settings}
          delayed_close_timeout: 0.03s`,
    filters,
    virtualHosts,
    log: { file: logFile, format },
  });
}

const abort = (fields: string): string =>
  `typed_per_filter_config: {envoy.filters.http.fault: {"@type": ${extensions}.filters.http.fault.v3.HTTPFault, ${fields}}}`;
const always = "percentage: {numerator: 100}";
const cors = `{"@type": ${extensions}.filters.http.cors.v3.CorsPolicy, allow_origin_string_match: [{exact: "https://shop.test"}], allow_methods: "GET, PUT", allow_headers: x-a, expose_headers: x-b, max_age: "60", allow_credentials: true}`;
const disabled = `{"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}`;
const retries = (on: string, more = ""): string =>
  `retry_policy: {retry_on: "${on}", num_retries: 2, retry_back_off: {base_interval: 0.005s}${more}}`;

const virtualHosts = `
            - {name: nowhere, domains: [nowhere.test], routes: []}
            - {name: tls, domains: [tls.test], require_tls: ALL, routes: [{match: {prefix: /}, route: {cluster: app}}]}
            - name: counted
              domains: [counted.test]
              include_request_attempt_count: true
              include_attempt_count_in_response: true
              routes:
              - {name: counted, match: {prefix: /}, route: {cluster: app, ${retries("5xx")}}}
            - name: headers
              domains: [headers.test]
              request_headers_to_add: [{header: {key: x-host, value: host}}]
              response_headers_to_add: [{header: {key: x-out, value: host}}]
              response_headers_to_remove: [x-powered-by]
              routes:
              - name: formats
                match: {prefix: /formats}
                request_headers_to_add:
                - {header: {key: x-from, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}
                - {header: {key: x-method, value: "%REQ(:METHOD)%"}}
                - {header: {key: x-missing, value: "%REQ(X-NOT-THERE)%"}}
                - {header: {key: x-kept, value: "%REQ(X-NOT-THERE)%"}, keep_empty_value: true}
                - {header: {key: x-mixed, value: "<%REQ(X-NOT-THERE)%>"}}
                - {header: {key: x-percent, value: "100%%"}}
                - {header: {key: x-sni, value: "%REQUESTED_SERVER_NAME%"}}
                route: {cluster: app}
              - name: broken
                match: {prefix: /refused}
                response_headers_to_add: [{header: {key: x-out, value: route}}]
                route: {cluster: refused}
              - name: denied
                match: {prefix: /denied}
                response_headers_to_add: [{header: {key: x-out, value: route}}]
                route: {cluster: app}
              - name: actions
                match: {prefix: /actions}
                request_headers_to_remove: [x-gone]
                request_headers_to_add:
                - {header: {key: x-set, value: new}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}
                - {header: {key: x-add, value: new}, append_action: APPEND_IF_EXISTS_OR_ADD}
                - {header: {key: x-absent, value: new}, append_action: ADD_IF_ABSENT}
                - {header: {key: x-exists, value: new}, append_action: OVERWRITE_IF_EXISTS}
                response_headers_to_add: [{header: {key: x-out, value: route}}]
                route: {cluster: app}
            - name: all
              domains: ["*"]
              routes:
              - {name: refused, match: {prefix: /refused}, route: {cluster: refused}}
              - {name: refused-retried, match: {prefix: /retry-refused}, route: {cluster: refused, ${retries("connect-failure")}}}
              - {name: empty, match: {prefix: /empty}, route: {cluster: empty}}
              - {name: missing, match: {prefix: /missing}, route: {cluster: nowhere}}
              - {name: missing-404, match: {prefix: /gone-cluster}, route: {cluster: nowhere, cluster_not_found_response_code: NOT_FOUND}}
              - {name: missing-500, match: {prefix: /bad-cluster}, route: {cluster: nowhere, cluster_not_found_response_code: INTERNAL_SERVER_ERROR}}
              - {name: by-header, match: {prefix: /by-header}, route: {cluster_header: x-cluster}}
              - {name: no-connections, match: {prefix: /no-connections}, route: {cluster: no-connections}}
              - {name: no-requests, match: {prefix: /no-requests}, route: {cluster: no-requests}}
              - {name: no-retries, match: {prefix: /no-retries}, route: {cluster: no-retries, ${retries("5xx")}}}
              - {name: timeout, match: {prefix: /timeout}, route: {cluster: app, timeout: 0.15s}}
              - {name: no-timeout, match: {prefix: /no-timeout}, route: {cluster: app, timeout: 0s}}
              - {name: per-try, match: {prefix: /per-try}, route: {cluster: app, timeout: 2s, idle_timeout: 5s, ${retries("5xx", ", per_try_timeout: 0.1s")}}}
              - {name: per-try-idle, match: {prefix: /idle-try}, route: {cluster: app, timeout: 2s, idle_timeout: 5s, ${retries("5xx", ", per_try_idle_timeout: 0.1s")}}}
              - {name: route-idle, match: {prefix: /route-idle}, route: {cluster: app, idle_timeout: 0.1s}}
              - {name: duration, match: {prefix: /duration}, route: {cluster: app, max_stream_duration: {max_stream_duration: 0.1s}}}
              - {name: grpc-timeout, match: {prefix: /grpc-timeout}, route: {cluster: app, max_stream_duration: {grpc_timeout_header_max: 0s}}}
              - {name: retry-5xx, match: {prefix: /retry-5xx}, route: {cluster: app, ${retries("5xx")}}}
              - {name: retry-reset, match: {prefix: /retry-reset}, route: {cluster: app, ${retries("reset")}}}
              - {name: retry-codes, match: {prefix: /retry-codes}, route: {cluster: app, ${retries("retriable-status-codes", ", retriable_status_codes: [409]")}}}
              - {name: retry-4xx, match: {prefix: /retry-4xx}, route: {cluster: app, ${retries("retriable-4xx")}}}
              - {name: retry-gateway, match: {prefix: /retry-gateway}, route: {cluster: app, ${retries("gateway-error")}}}
              - {name: fault-abort, match: {prefix: /fault/abort}, ${abort(`abort: {http_status: 418, ${always}}`)}, route: {cluster: app}}
              - {name: fault-grpc, match: {prefix: /fault/grpc}, ${abort(`abort: {grpc_status: 14, ${always}}`)}, route: {cluster: app}}
              - {name: fault-delay, match: {prefix: /fault/delay}, ${abort(`delay: {fixed_delay: 0.05s, ${always}}`)}, route: {cluster: app}}
              - {name: fault-both, match: {prefix: /fault/both}, ${abort(`delay: {fixed_delay: 0.05s, ${always}}, abort: {http_status: 503, ${always}}`)}, route: {cluster: app}}
              - {name: fault-header, match: {prefix: /fault/header}, ${abort(`abort: {http_status: 400, ${always}}, headers: [{name: x-fault, string_match: {exact: "1"}}]`)}, route: {cluster: app}}
              - {name: fault-asked, match: {prefix: /fault/asked}, ${abort(`delay: {header_delay: {}, ${always}}, abort: {header_abort: {}, ${always}}`)}, route: {cluster: app}}
              - {name: fault-rare, match: {prefix: /fault/rare}, ${abort("abort: {header_abort: {}, percentage: {numerator: 0}}")}, route: {cluster: app}}
              - {name: fault-node, match: {prefix: /fault/node}, ${abort(`abort: {http_status: 400, ${always}}, downstream_nodes: [one, two]`)}, route: {cluster: app}}
              - {name: cors, match: {prefix: /cors}, typed_per_filter_config: {envoy.filters.http.cors: ${cors}}, route: {cluster: app}}
              - {name: cors-strict, match: {prefix: /strict-cors}, typed_per_filter_config: {envoy.filters.http.cors: ${cors.replace("max_age", "forward_not_matching_preflights: false, max_age")}}, route: {cluster: app}}
              - {name: rbac-off, match: {prefix: /denied/not}, typed_per_filter_config: {envoy.filters.http.rbac: ${disabled}}, route: {cluster: app}}
              - {name: redirect, match: {prefix: /redirect/}, redirect: {prefix_rewrite: /there/, response_code: SEE_OTHER}}
              - {name: redirect-host, match: {path: /redirect-host}, redirect: {host_redirect: else.test, port_redirect: 8443, scheme_redirect: https, strip_query: true}}
              - {name: direct, match: {path: /direct}, direct_response: {status: 299, body: {inline_string: "said directly"}}, response_headers_to_add: [{header: {key: x-direct, value: "1"}}]}
              - {name: direct-204, match: {path: /direct-204}, direct_response: {status: 204}}
              - {name: direct-empty, match: {path: /direct-empty}, direct_response: {status: 200}}
              - {name: rewrite, match: {prefix: /rewrite/}, route: {cluster: app, prefix_rewrite: /new/}}
              - {name: host-literal, match: {prefix: /host-literal}, route: {cluster: app, host_rewrite_literal: literal.test}}
              - {name: host-header, match: {prefix: /host-header}, route: {cluster: app, host_rewrite_header: x-host, append_x_forwarded_host: true}}
              - {name: host-auto, match: {prefix: /host-auto}, route: {cluster: named, auto_host_rewrite: true}}
              - {name: host-path, match: {prefix: /host-path}, route: {cluster: app, host_rewrite_path_regex: {pattern: {regex: "^/host-path/(.+)/.*$"}, substitution: '\\\\1.test'}}}
              - {name: decorated, match: {prefix: /decorated}, decorator: {operation: shown}, route: {cluster: app}}
              - {name: quiet, match: {prefix: /quiet}, decorator: {operation: hidden, propagate: false}, route: {cluster: app}}
              - {name: no-websocket, match: {prefix: /no-websocket}, route: {cluster: app, upgrade_configs: [{upgrade_type: websocket, enabled: false}]}}
              - {name: connect, match: {connect_matcher: {}, headers: [{name: ":authority", string_match: {prefix: app}}]}, route: {cluster: app, upgrade_configs: [{upgrade_type: CONNECT, connect_config: {}}]}}
              - {name: not-here, match: {prefix: /not-here, headers: [{name: x-never, present_match: true}]}, route: {cluster: app}}
              - {name: all, match: {prefix: /app}, route: {cluster: app}}
`;
