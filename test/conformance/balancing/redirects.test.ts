/** Redirects that the proxy follows in its client's place, beside Envoy on the same file. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

interface Asked {
  readonly line: string;
  readonly headers: Readonly<Record<string, string>>;
  body: string;
}

/** By the request's id, in order. */
const asked = new Map<string, Asked[]>();

const shown = [
  "content-length",
  "transfer-encoding",
  "x-copied",
  "x-cleared",
  "x-route",
  "x-envoy-original-url",
  "x-envoy-original-path",
  "x-forwarded-proto",
  "x-forwarded-for",
  "x-envoy-attempt-count",
] as const;

/** `/from/…?to=LOCATION&status=302&copied=1` redirects; everything else says 200. */
function answer(_: number, request: IncomingMessage, response: ServerResponse): void {
  const id = String(request.headers["x-id"] ?? "");
  const { host, "x-request-id": requestId } = request.headers;
  const seen: Asked = {
    line: `${request.method} ${host}${request.url}`,
    headers: Object.fromEntries(
      shown.flatMap((name) => {
        const value = request.headers[name];
        // What Envoy calls a client on loopback.
        return value === undefined
          ? []
          : [[name, String(value).replaceAll("192.0.2.2", "127.0.0.1")]];
      }),
    ),
    body: "",
  };
  asked.set(id, [...(asked.get(id) ?? []), seen]);
  request.on("data", (chunk: Buffer) => (seen.body += chunk.toString()));
  request.on("end", () => {
    const url = new URL(request.url ?? "", "http://any");
    const to = url.searchParams.get("to");
    response.setHeader("x-seen-id", requestId === undefined ? "none" : "some");
    if (to === null) return response.end("arrived");
    response.statusCode = Number(url.searchParams.get("status") ?? 302);
    if (to !== "") response.setHeader("location", to);
    if (url.searchParams.has("copied")) response.setHeader("x-copied", "new");
    return response.end("moved");
  });
}

const servers = new Servers(1, answer);
/** Not an edge, and an edge. */
const managers = ["", "use_remote_address: true"] as const;
const planesOf = new Map<string, readonly Plane[]>();

const predicates = "type.googleapis.com/envoy.extensions.internal_redirect";
const predicate = (name: string, config: string, more = ""): string =>
  `{name: ${name}, typed_config: {"@type": ${predicates}.${name}.v3.${config}${more}}}`;

function routeOf(name: string, policy: string, more = ""): string {
  const headers = `request_headers_to_add: [{header: {key: x-route, value: ${name}}}]`;
  return `{name: ${name}, match: {prefix: /${name}}, ${headers}, route: {cluster: one, timeout: 3s, ${policy}${more}}}`;
}

before(async () => {
  await servers.open();
  const assignment = `{cluster_name: one, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}`;
  const onlyTarget = predicate(
    "allow_listed_routes",
    "AllowListedRoutesConfig",
    ", allowed_route_names: [target]",
  );
  const start = (manager: string): Promise<readonly Plane[]> =>
    startPlanes((place) =>
      bootstrapOf(place, {
        manager: [
          manager,
          "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 16}]}",
        ].filter((line) => line !== ""),
        clusters: [`{name: one, connect_timeout: 10s, load_assignment: ${assignment}}`],
        routes: [
          routeOf("from", "internal_redirect_policy: {}"),
          routeOf("often", "internal_redirect_policy: {max_internal_redirects: 3}"),
          routeOf(
            "all",
            "internal_redirect_policy: {redirect_response_codes: [301, 302, 303, 308, 404], allow_cross_scheme_redirect: true}",
          ),
          routeOf(
            "copies",
            "internal_redirect_policy: {response_headers_to_copy: [x-copied, x-cleared]}",
          ),
          routeOf("listed", `internal_redirect_policy: {predicates: [${onlyTarget}]}`),
          routeOf(
            "unvisited",
            `internal_redirect_policy: {max_internal_redirects: 5, predicates: [${predicate("previous_routes", "PreviousRoutesConfig")}]}`,
          ),
          routeOf(
            "safe",
            `internal_redirect_policy: {allow_cross_scheme_redirect: true, predicates: [${predicate("safe_cross_scheme", "SafeCrossSchemeConfig")}]}`,
          ),
          routeOf("old", "internal_redirect_action: HANDLE_INTERNAL_REDIRECT"),
          routeOf(
            "rewritten",
            "internal_redirect_policy: {}",
            ", prefix_rewrite: /from, host_rewrite_literal: inner.test",
          ),
          routeOf("target", "host_rewrite_literal: target.test"),
          routeOf("plain", "prefix_rewrite: /plain"),
          "{name: told, match: {prefix: /told}, direct_response: {status: 202, body: {inline_string: told}}}",
        ],
      }),
    );
  for (const manager of managers) planesOf.set(manager, await start(manager));
});

after(async () => {
  await Promise.all([...planesOf.values()].flat().map((plane) => plane.close()));
  servers.close();
});

let lastId = 0;

interface Case {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly method?: string;
  readonly body?: string;
  /** How many requests reach the endpoint. */
  readonly asked: number;
  readonly status: number;
}

const to = (place: string, more = ""): string => `to=${encodeURIComponent(place)}${more}`;
const away = "http://other.test/target?q=1";

const cases: readonly (readonly [string, Case])[] = [
  ["302 is followed", { path: `/from?${to(away)}`, asked: 2, status: 200 }],
  [
    "a fragment and a standard port are left out",
    { path: `/from?${to("http://other.test:80/target#part")}`, asked: 2, status: 200 },
  ],
  [
    "another port stays",
    { path: `/from?${to("http://other.test:8080/target")}`, asked: 2, status: 200 },
  ],
  ["a place without a path", { path: `/from?${to("http://other.test")}`, asked: 1, status: 302 }],
  [
    "301 passes unless it is asked for",
    { path: `/from?${to(away, "&status=301")}`, asked: 1, status: 301 },
  ],
  [
    "301 is followed where it is asked for",
    { path: `/all?${to(away, "&status=301")}`, asked: 2, status: 200 },
  ],
  [
    "308 keeps method and body",
    {
      path: `/all?${to(away, "&status=308")}`,
      method: "POST",
      body: "hello",
      asked: 2,
      status: 200,
    },
  ],
  [
    "302 keeps method and body",
    { path: `/from?${to(away)}`, method: "POST", body: "hello", asked: 2, status: 200 },
  ],
  [
    "303 makes it GET",
    {
      path: `/all?${to(away, "&status=303")}`,
      method: "POST",
      body: "hello",
      asked: 2,
      status: 200,
    },
  ],
  [
    "303 leaves HEAD",
    { path: `/all?${to(away, "&status=303")}`, method: "HEAD", asked: 2, status: 200 },
  ],
  ["404 is no redirect", { path: `/all?${to(away, "&status=404")}`, asked: 1, status: 404 }],
  ["without a place it passes", { path: "/from?to=", asked: 1, status: 302 }],
  ["a relative place passes", { path: `/from?${to("/target")}`, asked: 1, status: 302 }],
  ["nonsense passes", { path: `/from?${to("ftp://other.test/target")}`, asked: 1, status: 302 }],
  [
    "a place that no route leads to passes",
    { path: `/from?${to("http://other.test/nowhere")}`, asked: 1, status: 302 },
  ],
  [
    "TLS is another scheme",
    { path: `/from?${to("https://other.test/target")}`, asked: 1, status: 302 },
  ],
  [
    "TLS where that is allowed",
    { path: `/all?${to("https://other.test/target")}`, asked: 2, status: 200 },
  ],
  [
    "never from plaintext to TLS",
    { path: `/safe?${to("https://other.test/target")}`, asked: 1, status: 302 },
  ],
  [
    "once by default",
    { path: `/from?${to(`http://a.test/from?${to(away)}`)}`, asked: 2, status: 302 },
  ],
  [
    "as often as is told",
    { path: `/often?${to(`http://a.test/often?${to(away)}`)}`, asked: 3, status: 200 },
  ],
  [
    "headers of the answer are copied, or cleared",
    {
      path: `/copies?${to(away, "&copied=1")}`,
      headers: { "x-copied": "old", "x-cleared": "old" },
      asked: 2,
      status: 200,
    },
  ],
  [
    "headers stay when it is not followed",
    {
      path: `/copies?${to("http://other.test/nowhere", "&copied=1")}`,
      headers: { "x-copied": "old" },
      asked: 1,
      status: 302,
    },
  ],
  ["to a route of the list", { path: `/listed?${to(away)}`, asked: 2, status: 200 }],
  ["to no other", { path: `/listed?${to("http://other.test/plain")}`, asked: 1, status: 302 }],
  [
    "to no route twice",
    {
      path: `/unvisited?${to(`http://a.test/unvisited?${to(`http://b.test/unvisited?${to(away)}`)}`)}`,
      asked: 2,
      status: 302,
    },
  ],
  ["by the older field", { path: `/old?${to(away)}`, asked: 2, status: 200 }],
  [
    "to an answer of the proxy's own",
    { path: `/from?${to("http://other.test/told")}`, asked: 1, status: 202 },
  ],
  ["from a place that was rewritten", { path: `/rewritten?${to(away)}`, asked: 2, status: 200 }],
  [
    "of a client inside",
    {
      path: `/from?${to(away)}`,
      headers: { "x-forwarded-for": "127.0.0.9" },
      asked: 2,
      status: 200,
    },
  ],
];

for (const manager of managers) {
  for (const [name, { path, headers = {}, method = "GET", body, ...expected }] of cases) {
    test(`a redirect is followed (${manager}): ${name}`, async () => {
      const planes = planesOf.get(manager) ?? [];
      const all = await Promise.all(
        planes.map(async (plane) => {
          const id = String(++lastId);
          const fields = { host: "shop.test", ...headers, "x-id": id };
          const got = await plane.ask(path, fields, method, body);
          const { location, "x-seen-id": seenId } = got.headers;
          return { status: got.status, body: got.body, location, seenId, asked: asked.get(id) };
        }),
      );
      for (const [i, got] of all.entries()) {
        const plane = planes[i]?.name ?? "";
        assert.deepEqual({ asked: got.asked?.length, status: got.status }, expected, plane);
        assert.deepEqual(got, all.at(-1), plane);
      }
    });
  }
}
