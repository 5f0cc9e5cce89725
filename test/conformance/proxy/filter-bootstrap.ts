/** The file that both data planes run to compare their HTTP filters: each on routes of its own. */
import { clusterText, extensions, httpListenerText, type HttpText } from "./bootstrap-text.ts";
import type { Backends } from "./scenario-bootstrap.ts";
import type { Place } from "./scenario-proxies.ts";

const filters = `${extensions}.filters.http`;
const rateLimit = `${filters}.local_ratelimit.v3.LocalRateLimit`;

export function filterBootstrap({ application, closed }: Backends): (place: Place) => string {
  return ({ ports, logFile }) => `
node: {id: own, cluster: own}
static_resources:
  clusters:
  - ${clusterText("app", application)}
  - ${clusterText("refused", closed)}
  - ${clusterText("pair", [application, closed])}
  listeners:
  - ${listener("mesh", ports.mesh, { logFile, http: limited })}
  - ${listener("edge", ports.edge, { logFile, http: whole })}
  - ${listener("behind", ports.behind, { logFile, http: changed })}
  - ${listener("client", ports.client, { logFile, http: mapped })}
  - ${listener("server", ports.server, { logFile, http: sessions({ application, closed }) })}
`;
}

const format =
  "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% out=%BYTES_SENT% route=%ROUTE_NAME% cluster=%UPSTREAM_CLUSTER%";

function listener(
  name: string,
  port: number,
  { logFile, http }: { readonly logFile: string; readonly http: HttpText },
): string {
  const settings = `
          delayed_close_timeout: 0.03s${http.settings ?? ""}`;
  return httpListenerText(name, port, { ...http, settings, log: { file: logFile, format } });
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
  key("source_cluster", "own", 1),
  key("remote_address_match", "near", 1),
  key("level", "gold", 1),
  key("heavy", "yes", 10),
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
  source: "{source_cluster: {}}",
  near: "{remote_address_match: {descriptor_value: near, address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}}}",
  far: "{remote_address_match: {descriptor_value: near, address_matcher: {ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}], invert_match: true}}}",
  level:
    "{metadata: {descriptor_key: level, source: ROUTE_ENTRY, metadata_key: {key: own, path: [{key: level}]}}}",
  guess:
    "{metadata: {descriptor_key: level, source: ROUTE_ENTRY, default_value: gold, metadata_key: {key: own, path: [{key: number}]}}}",
  absent:
    "{generic_key: {descriptor_value: one}}, {metadata: {descriptor_key: level, skip_if_absent: true, metadata_key: {key: own, path: [{key: level}]}}}",
  found: "{metadata: {descriptor_key: level, metadata_key: {key: none, path: [{key: a}]}}}",
  both: "{generic_key: {descriptor_value: two}}, {request_headers: {header_name: x-user, descriptor_key: user, skip_if_absent: true}}",
};

const limited: HttpText = {
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
      `              - {name: by-${name}, match: {prefix: /by-${name}}, ${limit(`token_bucket: ${bucket(100)}, descriptors: [${descriptors}], max_dynamic_descriptors: 2, enable_x_ratelimit_headers: DRAFT_VERSION_03, ${on}`)}, route: {cluster: app, rate_limits: [{actions: [${action}]}]}, metadata: {filter_metadata: {own: {level: gold, number: 3}}}}`,
  )
  .join("\n")}
              - {name: untold, match: {prefix: /untold}, ${limit(`token_bucket: ${bucket(100)}, descriptors: [${descriptors}], enable_x_ratelimit_headers: DRAFT_VERSION_03, rate_limits: [{actions: [{generic_key: {descriptor_value: one}}], x_ratelimit_option: "OFF"}], ${on}`)}, route: {cluster: app}}
              - {name: retold, match: {prefix: /retold}, ${limit(`token_bucket: ${bucket(100)}, descriptors: [${descriptors}], rate_limits: [{actions: [{generic_key: {descriptor_value: one}}], x_ratelimit_option: DRAFT_VERSION_03}], ${on}`)}, route: {cluster: app}}
              - {name: default, match: {prefix: /default}, ${limit(`token_bucket: ${bucket(1)}, descriptors: [${key("generic_key", "one", 10)}], rate_limits: [{actions: [{generic_key: {descriptor_value: one}}], x_ratelimit_option: DRAFT_VERSION_03}], ${on}`)}, route: {cluster: app}}
              - {name: heavier, match: {prefix: /heavier}, ${limit(`token_bucket: ${bucket(100)}, descriptors: [${descriptors}], rate_limits: [{actions: [{generic_key: {descriptor_key: heavy, descriptor_value: "yes"}}], hits_addend: {number: 6}}], ${on}`)}, route: {cluster: app}}
              - {name: heavy, match: {prefix: /heavy}, ${limit(`token_bucket: ${bucket(100)}, descriptors: [${descriptors}], rate_limits: [{actions: [{generic_key: {descriptor_key: heavy, descriptor_value: "yes"}}], hits_addend: {format: "%REQ(x-cost)%"}}], ${on}`)}, route: {cluster: app}}
              - {name: all, match: {prefix: /app}, route: {cluster: app}}`,
};

const whole: HttpText = {
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

const mutation = `${filters}.header_mutation.v3`;
const set = (name: string, value: string, more = ""): string =>
  `{append: {header: {key: ${name}, value: "${value}"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD${more}}}`;
const mutate = (fields: string): string =>
  `typed_per_filter_config: {change: {"@type": ${mutation}.HeaderMutationPerRoute, mutations: {${fields}}}, last: {"@type": ${mutation}.HeaderMutationPerRoute, mutations: {${fields}}}}`;
const query = (action: string, name: string): string =>
  `{append: {record: {key: ${name}, value: new}, action: ${action}}}`;

const changed: HttpText = {
  filters: `
          - name: change
            typed_config:
              "@type": ${mutation}.HeaderMutation
              mutations:
                request_mutations:
                - ${set("x-filter", "%REQ(:METHOD)% %PROTOCOL% %REQ(X-NOT)%")}
                - {append: {header: {key: x-more, value: two}, append_action: APPEND_IF_EXISTS_OR_ADD}}
                - {append: {header: {key: x-empty, value: "%REQ(X-NOT)%"}}}
                - {append: {header: {key: x-kept, value: "%REQ(X-NOT)%"}, keep_empty_value: true}}
                - {remove: x-gone}
                - {remove_on_match: {key_matcher: {prefix: x-secret-}}}
                response_mutations:
                - ${set("x-status", "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESP(X-APP)% %ROUTE_NAME% %UPSTREAM_CLUSTER%")}
                - {append: {header: {key: x-out, value: filter}}}
                - {remove: x-powered-by}
                - ${set("server", "changed")}
          - name: last
            typed_config: {"@type": ${mutation}.HeaderMutation, most_specific_header_mutations_wins: true, mutations: {response_mutations: [{append: {header: {key: x-out, value: last}}}]}}`,
  virtualHosts: `
            - name: all
              domains: ["*"]
              ${mutate(`request_mutations: [${set("x-level", "host")}], response_mutations: [{append: {header: {key: x-out, value: host}}}, ${set("x-level", "host")}]`)}
              response_headers_to_add: [{header: {key: x-out, value: routes}}]
              routes:
              - {name: own, match: {prefix: /own}, ${mutate(`request_mutations: [${set("x-level", "route")}, ${set("x-host", "%REQ(:AUTHORITY)% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")}], response_mutations: [{append: {header: {key: x-out, value: route}}}, ${set("x-level", "route")}]`)}, route: {cluster: app}}
              - {name: query, match: {prefix: /query}, ${mutate(`query_parameter_mutations: [${query("APPEND_IF_EXISTS_OR_ADD", "a")}, ${query("ADD_IF_ABSENT", "b")}, ${query("OVERWRITE_IF_EXISTS_OR_ADD", "c")}, ${query("OVERWRITE_IF_EXISTS", "d")}, {remove: e}]`)}, route: {cluster: app}}
              - {name: refused, match: {prefix: /refused}, route: {cluster: refused}}
              - {name: direct, match: {prefix: /direct}, direct_response: {status: 200}}
              - {name: off, match: {prefix: /off}, typed_per_filter_config: {change: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}, route: {cluster: app}}
              - {name: formats, match: {prefix: /formats}, request_headers_to_add: [{header: {key: x-protocol, value: "%PROTOCOL%"}}, {header: {key: x-route, value: "%ROUTE_NAME%"}}], response_headers_to_add: [{header: {key: x-code, value: "%RESPONSE_CODE%"}}, {header: {key: x-via, value: "%UPSTREAM_HOST%"}}], route: {cluster: app}}
              - {name: all, match: {prefix: /}, route: {cluster: app}}`,
};

const when = (status: number): string =>
  `{status_code_filter: {comparison: {op: EQ, value: {default_value: ${status}, runtime_key: k}}}}`;

const mapped: HttpText = {
  settings: `
          local_reply_config:
            mappers:
            - {filter: ${when(404)}, status_code: 410, body: {inline_string: "gone: é"}, headers_to_add: [{header: {key: x-mapped, value: "%RESPONSE_CODE%"}}]}
            - {filter: {response_flag_filter: {flags: [UF]}}, status_code: 504, body_format_override: {json_format: {status: "%RESPONSE_CODE%", said: "%LOCAL_REPLY_BODY%", path: "%REQ(:path)%", none: "%REQ(x-not)%"}}}
            - {filter: {header_filter: {header: {name: x-tea, present_match: true}}}, status_code: 418, body_format_override: {text_format_source: {inline_string: "<b>%LOCAL_REPLY_BODY%</b>"}, content_type: "text/html; charset=UTF-8"}}
            - {filter: ${when(204)}, body: {inline_string: "nothing to see"}}
            body_format: {text_format_source: {inline_string: "[%LOCAL_REPLY_BODY%|%RESPONSE_CODE%|%REQ(X-NOT)%|%RESPONSE_FLAGS%|%ROUTE_NAME%]"}}`,
  filters: "",
  virtualHosts: `
            - name: all
              domains: ["*"]
              routes:
              - {name: refused, match: {prefix: /refused}, route: {cluster: refused}}
              - {name: direct, match: {prefix: /direct}, direct_response: {status: 200, body: {inline_string: said}}}
              - {name: teapot, match: {prefix: /typed}, direct_response: {status: 200, body: {inline_string: said}}, response_headers_to_add: [{header: {key: content-type, value: text/x-own}}]}
              - {name: none, match: {prefix: /none}, direct_response: {status: 204}}
              - {name: empty, match: {prefix: /empty}, direct_response: {status: 200}}
              - {name: formatted, match: {prefix: /formatted}, direct_response: {status: 299, body: {inline_string: "é"}, body_format: {text_format_source: {inline_string: "%LOCAL_REPLY_BODY% for %REQ(:path)% by %REQ(x-not)%"}, content_type: text/x-formatted}}}
              - {name: json, match: {prefix: /json}, direct_response: {status: 200, body: {inline_string: "said"}, body_format: {json_format: {path: "%REQ(:path)%", route: "%ROUTE_NAME%"}}}}
              - {name: away, match: {prefix: /away}, redirect: {path_redirect: /there}}
              - {name: missing, match: {prefix: /missing}, route: {cluster: nowhere}}
              - {name: all, match: {prefix: /app}, route: {cluster: app}}`,
};

const template = (path: string): string =>
  `{name: envoy.path.match.uri_template.uri_template_matcher, typed_config: {"@type": ${extensions}.path.match.uri_template.v3.UriTemplateMatchConfig, path_template: "${path}"}}`;
const templateRewrite = (path: string): string =>
  `path_rewrite_policy: {name: envoy.path.rewrite.uri_template.uri_template_rewriter, typed_config: {"@type": ${extensions}.path.rewrite.uri_template.v3.UriTemplateRewriteConfig, path_template_rewrite: "${path}"}}`;
const stateful = `${filters}.stateful_session.v3.StatefulSession`;
const base64 = (bytes: string): string => Buffer.from(bytes, "latin1").toString("base64");
const inCookie = (port: number): string => {
  const address = `127.0.0.1:${port}`;
  return base64(`\n${String.fromCharCode(address.length)}${address}`);
};
const cookieState = (fields: string): string =>
  `session_state: {name: envoy.http.stateful_session.cookie, typed_config: {"@type": ${extensions}.http.stateful_session.cookie.v3.CookieBasedSessionState, cookie: {${fields}}}}`;
const headerState = `session_state: {name: envoy.http.stateful_session.header, typed_config: {"@type": ${extensions}.http.stateful_session.header.v3.HeaderBasedSessionState, name: X-Session}}`;
const brings = (name: string, value: string): string =>
  `change: {"@type": ${mutation}.HeaderMutationPerRoute, mutations: {request_mutations: [{append: {header: {key: ${name}, value: '${value}'}}}]}}`;
const session = (fields: string): string => `session: {"@type": ${stateful}PerRoute, ${fields}}`;

/** What a client would bring is put there by a filter before: it names ports of this run. */
const sessions = ({ application, closed }: Backends): HttpText => {
  const strict = session(`stateful_session: {strict: true, ${cookieState("name: sid")}}`);
  const byHeader = session(`stateful_session: {${headerState}}`);
  const there = brings("cookie", `a=1; sid="${inCookie(application)}"`);
  const gone = brings("cookie", `sid=${inCookie(1)}`);
  const route = (name: string, config: string, target = "pair"): string =>
    `              - {name: ${name}, match: {prefix: /${name}}, typed_per_filter_config: {${config}}, route: {cluster: ${target}}}`;
  return {
    filters: `
          - name: rbac
            typed_config: {"@type": ${filters}.rbac.v3.RBAC, rules: {action: DENY, policies: {closed: {principals: [{any: true}], permissions: [{uri_template: ${template("/shut/*/door")}}]}}}}
          - name: change
            typed_config: {"@type": ${mutation}.HeaderMutation}
          - name: session
            typed_config: {"@type": ${stateful}, ${cookieState("name: sid, path: /, attributes: [{name: SameSite, value: Lax}, {name: Secure}]")}}`,
    virtualHosts: `
            - name: all
              domains: ["*"]
              routes:
              - {name: picked, match: {prefix: /picked}, typed_per_filter_config: {${session("disabled: true")}}, route: {weighted_clusters: {header_name: x-pick, clusters: [{name: app, weight: 2}, {name: refused, weight: 1}]}}}
              - {name: templated, match: {path_match_policy: ${template("/t/{a}/{rest=**}")}}, route: {cluster: app, ${templateRewrite("/new/{rest}/{a}")}}}
              - {name: template, match: {path_match_policy: ${template("/one/*.ok")}}, route: {cluster: app}}
              - {name: no-template, match: {prefix: /one}, direct_response: {status: 404}}
              - {name: known, match: {prefix: /metadata, dynamic_metadata: [{filter: f, path: [{key: k}], value: {present_match: true}}]}, route: {cluster: refused}}
              - {name: unknown, match: {prefix: /metadata, dynamic_metadata: [{filter: f, path: [{key: k}], value: {present_match: true}, invert: true}]}, route: {cluster: app}}
${route("stay", there)}
${route("closed", brings("cookie", `sid=${inCookie(closed)}`))}
${route("gone", gone, "app")}
${route("strict-gone", `${gone}, ${strict}`, "app")}
${route("strict-stay", `${there}, ${strict}`)}
${route("broken", brings("cookie", "sid=@@"), "app")}
${route("off", `${there}, ${session("disabled: true")}`, "app")}
${route("timed", session(`stateful_session: {${cookieState("name: timed, ttl: 100s, path: /timed/a")}}`), "app")}
${route("header", `${brings("x-session", base64(`127.0.0.1:${application}`))}, ${byHeader}`)}
${route("new-header", byHeader, "app")}
              - {name: all, match: {prefix: /}, route: {cluster: app}}`,
  };
};
