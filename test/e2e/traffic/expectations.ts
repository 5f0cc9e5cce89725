/**
 * What happens to requests: one table, which both data planes meet in every mode. Status, flags and
 * details are Envoy's; who answered and how often it was asked is what the servers saw.
 */
import type { HttpAnswer, HttpCall, SeenRequest } from "../support/traffic.ts";

export interface Expectation {
  readonly name: string;
  readonly call: HttpCall;
  readonly status: number;
  readonly body?: string;
  /** Which instance answered; absent when none did. */
  readonly from?: string;
  /** How often servers saw it. */
  readonly attempts: number;
  /** Logged by the caller's sidecar. */
  readonly outbound: Logged;
  /** Logged by the last server's sidecar; absent when it never came there. */
  readonly inbound?: Logged;
  readonly atLeastMs?: number;
  readonly check?: (answer: HttpAnswer, seen: readonly SeenRequest[]) => readonly Difference[];
}

export interface Logged {
  /** When it is not the one that the caller got. */
  readonly status?: number;
  readonly flags: string;
  readonly details: string;
  readonly route?: string | null;
  readonly cluster?: string | null;
}

/** What must be equal. */
export type Difference = readonly [what: string, found: unknown, expected: unknown];

const passed = { flags: "-", details: "via_upstream" } as const;

function web(subset: string): string {
  return `outbound|80|${subset}|web.default.svc.cluster.local`;
}

function vault(subset: string): string {
  return `outbound|80|${subset}|vault.secure.svc.cluster.local`;
}

const inbound = { ...passed, route: "default", cluster: "inbound|8080||" } as const;

/** A request that passes both sidecars and is answered with 200. */
function answered(from: string, route: string, cluster: string) {
  return { status: 200, from, attempts: 1, outbound: { ...passed, route, cluster }, inbound };
}

const [v1, v2] = ["web-v1-0", "web-v2-0"];
const upstreamReset = "upstream connect error or disconnect/reset before headers. reset reason: ";

const routing: readonly Expectation[] = [
  {
    name: "the catch-all route",
    call: { host: "web" },
    ...answered(v1, "default", web("v1")),
    check: (_, [seen]) => [
      ["attempt count", seen?.headers["x-envoy-attempt-count"], "1"],
      ["forwarded proto", seen?.headers["x-forwarded-proto"], "http"],
    ],
  },
  {
    name: "a header chooses the subset",
    call: { host: "web", headers: { "x-user": "beta" } },
    ...answered(v2, "user", web("v2")),
  },
  {
    name: "a query parameter chooses the subset",
    call: { host: "web", path: "/any?version=two" },
    ...answered(v2, "query", web("v2")),
  },
  {
    name: "path and authority are rewritten",
    call: { host: "web", path: "/old/shop" },
    ...answered(v1, "rewrite", web("v1")),
    check: (_, [seen]) => [
      ["path", seen?.url.split("?")[0], "/new/shop"],
      ["host", seen?.headers["host"], "rewritten.example"],
      ["original path", seen?.headers["x-envoy-original-path"]?.split("?")[0], "/old/shop"],
      ["original host", seen?.headers["x-envoy-original-host"], "web"],
    ],
  },
  {
    name: "a redirect",
    call: { host: "web", path: "/moved" },
    status: 302,
    body: "",
    attempts: 0,
    outbound: { flags: "-", details: "direct_response", route: "moved", cluster: null },
    check: (answer) => [
      ["location", answer.headers["location"]?.split("?")[0], "http://other.example/here"],
    ],
  },
  {
    name: "a direct response",
    call: { host: "web", path: "/teapot" },
    status: 418,
    body: "short and stout",
    attempts: 0,
    outbound: { flags: "-", details: "direct_response", route: "teapot", cluster: null },
  },
  {
    name: "headers are set, added and removed",
    call: { host: "web", path: "/headers", headers: { "x-remove": "1", "x-add": "one" } },
    ...answered(v1, "headers", web("v1")),
    check: (answer, [seen]) => [
      ["set", seen?.headers["x-set"], "from-route"],
      ["added", seen?.headers["x-add"], "one, more"],
      ["removed", seen?.headers["x-remove"], undefined],
      ["answer", answer.headers["x-answer"], "from-route"],
    ],
  },
  {
    name: "a host that has no such route",
    call: { host: "vault.secure", path: "/elsewhere" },
    status: 404,
    body: "",
    attempts: 0,
    outbound: { flags: "NR", details: "route_not_found", route: null, cluster: null },
  },
  {
    name: "a subset without endpoints",
    call: { host: "web", path: "/nobody" },
    status: 503,
    body: "no healthy upstream",
    attempts: 0,
    outbound: {
      flags: "UH",
      details: "no_healthy_upstream",
      route: "nobody",
      cluster: web("nobody"),
    },
  },
];

const resilience: readonly Expectation[] = [
  {
    name: "two failures are retried away",
    call: { host: "web", path: "/retry?fail=2" },
    ...answered(v1, "retry", web("v1")),
    attempts: 3,
    check: (_, seen) => [
      ["attempts", seen.map((one) => one.headers["x-envoy-attempt-count"]), ["1", "2", "3"]],
      ["ids", new Set(seen.map((one) => one.headers["x-request-id"])).size, 1],
    ],
  },
  {
    name: "a body is sent again with a retry",
    call: { host: "web", path: "/retry?fail=1", method: "POST", body: "one body" },
    ...answered(v1, "retry", web("v1")),
    attempts: 2,
    check: (answer) => [["bytes", bytesTold(answer), 8]],
  },
  {
    name: "retries end with the last answer",
    call: { host: "web", path: "/retry?fail=9" },
    status: 503,
    from: v1,
    attempts: 4,
    outbound: { flags: "URX", details: "via_upstream", route: "retry", cluster: web("v1") },
    inbound,
  },
  {
    name: "a server that hangs up",
    call: { host: "web", path: "/reset?reset=1", method: "POST" },
    status: 503,
    body: `${upstreamReset}connection termination`,
    attempts: 1,
    outbound: { ...passed, route: "reset", cluster: web("v1") },
    inbound: {
      flags: "UC",
      details: "upstream_reset_before_response_started{connection_termination}",
    },
  },
  {
    name: "a try that takes too long is tried again",
    call: { host: "web", path: "/per-try?wait=5000" },
    status: 504,
    body: "upstream request timeout",
    attempts: 2,
    outbound: {
      flags: "URX,UT",
      details: "upstream_per_try_timeout",
      route: "per-try",
      cluster: web("v1"),
    },
    atLeastMs: 800,
  },
  {
    name: "a timeout",
    call: { host: "web", path: "/timeout?wait=5000" },
    status: 504,
    body: "upstream request timeout",
    attempts: 1,
    outbound: {
      flags: "UT",
      details: "response_timeout",
      route: "timeout",
      cluster: web("v1"),
    },
    inbound: { ...inbound, status: 0, flags: "DC", details: "downstream_remote_disconnect" },
    atLeastMs: 500,
  },
  {
    name: "an injected delay",
    call: { host: "web", path: "/delay" },
    ...answered(v1, "delay", web("v1")),
    outbound: { flags: "DI", details: "via_upstream", route: "delay", cluster: web("v1") },
    atLeastMs: 300,
  },
  {
    name: "an injected failure",
    call: { host: "web", path: "/abort" },
    status: 555,
    body: "fault filter abort",
    attempts: 0,
    outbound: { flags: "FI", details: "fault_filter_abort", route: "abort" },
  },
];

const security: readonly Expectation[] = [
  {
    name: "a peer is told by its SPIFFE id",
    call: { host: "vault.secure", path: "/vault" },
    ...answered("vault-0", "vault", vault("")),
    check: (_, [seen]) => [["peer", peerOf(seen), "spiffe://cluster.local/ns/default/sa/client"]],
  },
  {
    name: "what no policy allows is denied",
    call: { host: "vault.secure", path: "/vault", method: "POST" },
    status: 403,
    body: "RBAC: access denied",
    attempts: 0,
    outbound: { ...passed, route: "vault", cluster: vault("") },
    inbound: { flags: "-", details: "rbac_access_denied_matched_policy[none]" },
  },
  {
    name: "DENY comes before ALLOW, and names its policy",
    call: { host: "vault.secure", path: "/vault/closed" },
    status: 403,
    body: "RBAC: access denied",
    attempts: 0,
    outbound: { ...passed, route: "vault", cluster: vault("") },
    inbound: {
      flags: "-",
      details: "rbac_access_denied_matched_policy[ns[secure]-policy[vault-closed]-rule[0]]",
    },
  },
  {
    name: "plaintext is refused where mutual TLS is STRICT",
    call: { host: "vault.secure", path: "/plaintext" },
    status: 503,
    body: `${upstreamReset}connection termination`,
    attempts: 0,
    outbound: {
      flags: "UC",
      details: "upstream_reset_before_response_started{connection_termination}",
      route: "plaintext",
      cluster: vault("plaintext"),
    },
  },
  {
    name: "plaintext is accepted where mutual TLS is PERMISSIVE",
    call: { host: "web", path: "/plaintext" },
    ...answered(v1, "plaintext", web("plaintext")),
    check: (_, [seen]) => [["peer", peerOf(seen), undefined]],
  },
];

export const expectations: readonly Expectation[] = [...routing, ...resilience, ...security];

/** The SPIFFE id in the header that the server's sidecar sets from the peer's certificate. */
function peerOf(seen: SeenRequest | undefined): string | undefined {
  return /URI=([^;,]+)/.exec(seen?.headers["x-forwarded-client-cert"] ?? "")?.[1];
}

function bytesTold({ body }: HttpAnswer): unknown {
  const told: unknown = JSON.parse(body);
  return typeof told === "object" && told !== null && "bytes" in told ? told.bytes : undefined;
}
