/** The one file that both data planes run for tokens, and the keys that it names. */
import { jwkOf, makeKey, type TestKey } from "../../support/tokens.ts";
import type { Place } from "../proxy/scenario-proxies.ts";

type KeyName = "rsa" | "anyRsa" | "p256" | "p384" | "p521" | "ed25519" | "remote" | "stranger";

export const keys: Readonly<Record<KeyName, TestKey>> = {
  rsa: makeKey("r", "rsa"),
  anyRsa: makeKey("p", "rsa"),
  p256: makeKey("e", "P-256"),
  p384: makeKey("e3", "P-384"),
  p521: makeKey("e5", "P-521"),
  ed25519: makeKey("d", "ed25519"),
  remote: makeKey("remote", "P-256"),
  /** In no key set. */
  stranger: makeKey("r", "rsa"),
};

export const keySet: string = JSON.stringify({
  keys: [
    jwkOf(keys.rsa, { alg: "RS256", use: "sig" }),
    jwkOf(keys.anyRsa),
    jwkOf(keys.p256, { alg: "ES256" }),
    jwkOf(keys.p384),
    jwkOf(keys.p521),
    jwkOf(keys.ed25519),
    { kty: "unheard", kid: "x" },
  ],
});
export const remoteKeySet: string = JSON.stringify({ keys: [jwkOf(keys.remote)] });

export const issuer = "https://issuer.test";
export const remoteIssuer = "https://remote.test";

const type = (name: string): { readonly "@type": string } => ({
  "@type": `type.googleapis.com/envoy.extensions.${name}`,
});
const filterType = (name: string): { readonly "@type": string } => type(`filters.http.${name}`);

const local = { local_jwks: { inline_string: keySet } };
const providers = {
  main: {
    issuer,
    audiences: ["shop", "https://other.test/"],
    ...local,
    forward: true,
    forward_payload_header: "x-payload",
    payload_in_metadata: "payload",
    header_in_metadata: "header",
    normalize_payload_in_metadata: { space_delimited_claims: ["scope", "none"] },
    claim_to_headers: [
      { header_name: "x-sub", claim_name: "sub" },
      { header_name: "x-number", claim_name: "n" },
      { header_name: "x-nested", claim_name: "a.b" },
      { header_name: "x-list", claim_name: "list" },
    ],
  },
  places: {
    ...local,
    from_headers: [{ name: "x-token" }, { name: "X-Auth", value_prefix: "JWT " }],
    from_params: ["tok"],
    from_cookies: ["session"],
    forward_payload_header: "x-padded",
    pad_forward_payload_header: true,
  },
  remote: {
    issuer: remoteIssuer,
    remote_jwks: {
      http_uri: { uri: "http://keys.test/sets/one", cluster: "keys", timeout: "2s" },
      cache_duration: "300s",
    },
  },
  ahead: {
    issuer: "https://ahead.test",
    remote_jwks: {
      http_uri: { uri: "http://keys.test/ahead", cluster: "keys", timeout: "2s" },
      cache_duration: "300s",
      async_fetch: {},
    },
  },
  gone: {
    issuer: "https://gone.test",
    remote_jwks: { http_uri: { uri: "http://keys.test/", cluster: "closed", timeout: "1s" } },
  },
  bad: {
    issuer: "https://bad.test",
    remote_jwks: { http_uri: { uri: "http://keys.test/bad", cluster: "keys", timeout: "1s" } },
  },
  routing: {
    issuer: "https://routing.test",
    ...local,
    payload_in_metadata: "payload",
    clear_route_cache: true,
  },
  bounded: {
    issuer: "https://bounded.test",
    ...local,
    subjects: { prefix: "user-" },
    require_expiration: true,
    max_lifetime: "3600s",
    clock_skew_seconds: 1,
  },
};

const needs = (provider_name: string): object => ({ provider_name });
const rules: readonly (readonly [prefix: string, requires: object])[] = [
  ["/main", needs("main")],
  ["/places", needs("places")],
  ["/moved", needs("places")],
  ["/found", needs("places")],
  ["/remote", needs("remote")],
  ["/ahead", needs("ahead")],
  ["/gone", needs("gone")],
  ["/bad", needs("bad")],
  ["/bounded", needs("bounded")],
  ["/routing", needs("routing")],
  ["/audience", { provider_and_audiences: { provider_name: "main", audiences: ["special"] } }],
  ["/any", { requires_any: { requirements: [needs("main"), needs("remote")] } }],
  ["/all", { requires_all: { requirements: [needs("main"), needs("places")] } }],
  ["/or-none", { requires_any: { requirements: [needs("main"), { allow_missing: {} }] } }],
  ["/or-bad", { requires_any: { requirements: [needs("main"), { allow_missing_or_failed: {} }] } }],
  ["/missing", { allow_missing: {} }],
  ["/failed", { allow_missing_or_failed: {} }],
  ["/policy", { allow_missing_or_failed: {} }],
];

const jwt = {
  ...filterType("jwt_authn.v3.JwtAuthentication"),
  providers: Object.fromEntries(
    Object.entries(providers).map(([name, one]) => [
      name,
      { ...one, failed_status_in_metadata: `failed-${name === "remote" ? "remote" : "any"}` },
    ]),
  ),
  bypass_cors_preflight: true,
  requirement_map: { named: needs("main") },
  filter_state_rules: {
    name: "wanted",
    requires: { main: needs("main"), places: needs("places"), missing: { allow_missing: {} } },
  },
  rules: [
    { match: { prefix: "/open" } },
    { match: { path: "/named" }, requirement_name: "named" },
    ...rules.map(([prefix, requires]) => ({ match: { prefix }, requires })),
  ],
};

/** Which requirement a request itself asks for, where no rule matches. */
const wanted = {
  ...filterType("set_filter_state.v3.Config"),
  on_request_headers: [
    {
      object_key: "wanted",
      factory_key: "envoy.string",
      format_string: {
        omit_empty_values: true,
        text_format_source: { inline_string: "%REQ(x-wants)%" },
      },
      skip_if_empty: true,
    },
  ],
};

/** What Istio makes of `requestPrincipals`, claims and a `source` that has none. */
const claim = (names: readonly string[], value: object): object => ({
  metadata: {
    filter: "envoy.filters.http.jwt_authn",
    path: names.map((key) => ({ key })),
    value,
  },
});
const policies = {
  elsewhere: {
    permissions: [{ not_rule: { url_path: { path: { prefix: "/policy" } } } }],
    principals: [{ any: true }],
  },
  issuer: {
    permissions: [{ url_path: { path: { exact: "/policy/issuer" } } }],
    principals: [
      {
        and_ids: {
          ids: [
            claim(["payload", "iss"], { string_match: { exact: issuer } }),
            claim(["payload", "sub"], { string_match: { prefix: "user-" } }),
          ],
        },
      },
    ],
  },
  scope: {
    permissions: [{ url_path: { path: { exact: "/policy/scope" } } }],
    principals: [
      claim(["payload", "scope"], {
        or_match: {
          value_matchers: [
            { string_match: { exact: "write" } },
            { list_match: { one_of: { string_match: { exact: "write" } } } },
          ],
        },
      }),
    ],
  },
  nested: {
    permissions: [{ url_path: { path: { exact: "/policy/nested" } } }],
    principals: [claim(["payload", "a", "b"], { present_match: true })],
  },
  absent: {
    permissions: [{ url_path: { path: { exact: "/policy/absent" } } }],
    principals: [
      claim(["payload", "a", "b"], { present_match: false }),
      { not_id: claim(["payload", "iss"], { string_match: { safe_regex: { regex: ".+" } } }) },
    ],
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

const perRoute = (fields: object): object => ({
  typed_per_filter_config: { jwt: { ...filterType("jwt_authn.v3.PerRouteConfig"), ...fields } },
});

export interface JwtBackends {
  readonly application: number;
  readonly keys: number;
  readonly closed: number;
}

export function jwtBootstrap(ports: JwtBackends): (place: Place) => string {
  const to = { route: { cluster: "app" } };
  const routes = [
    { match: { prefix: "/main/off" }, ...to, ...perRoute({ disabled: true }) },
    { match: { prefix: "/main/other" }, ...to, ...perRoute({ requirement_name: "unheard" }) },
    { match: { prefix: "/by-route" }, ...to, ...perRoute({ requirement_name: "named" }) },
    {
      match: {
        prefix: "/routing",
        dynamic_metadata: [
          {
            filter: "envoy.filters.http.jwt_authn",
            path: [{ key: "payload" }, { key: "role" }],
            value: { string_match: { exact: "admin" } },
          },
        ],
      },
      direct_response: { status: 418, body: { inline_string: "for admins" } },
    },
    { match: { prefix: "/moved" }, redirect: { host_redirect: "new.test" } },
    { match: { prefix: "/found" }, direct_response: { status: 302 } },
    { match: { prefix: "/" }, ...to },
  ];
  return ({ ports: { mesh, edge }, logFile }) => {
    const format = `%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:sub)% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn:payload:scope)% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn:header:alg)% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn:failed-any)% %DYNAMIC_METADATA(envoy.filters.http.jwt_authn:failed-remote)%\n`;
    const listener = (name: string, port: number, filter: object): object => ({
      name,
      address: { socket_address: { address: "127.0.0.1", port_value: port } },
      filter_chains: [
        {
          filters: [
            {
              name: "http",
              typed_config: {
                ...type("filters.network.http_connection_manager.v3.HttpConnectionManager"),
                stat_prefix: name,
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
                  { name: "state", typed_config: wanted },
                  { name: "jwt", typed_config: filter },
                  {
                    name: "rbac",
                    typed_config: { ...filterType("rbac.v3.RBAC"), rules: { policies } },
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
          cluster("keys", ports.keys),
          cluster("closed", ports.closed),
        ],
        listeners: [
          listener("mesh", mesh, jwt),
          listener("edge", edge, { ...jwt, strip_failure_response: true }),
        ],
      },
    });
  };
}
