import { get, message, post, type Scenario } from "./scenarios.ts";

const grpc = "Content-Type: application/grpc";

/** The same request twice: the first is let through, the second is what the name says. */
function twice(name: string, text: string, logs: string, more: Partial<Scenario> = {}): Scenario[] {
  return [
    { name: `lets one through, then ${name}`, text, logs: "200 -", ...more },
    { name, text, logs, ...more },
  ];
}

const limits: readonly Scenario[] = [
  ...twice("refuses without a token", get("/plain/ok"), "429 RL"),
  ...twice("tells of a limit", get("/told/ok"), "200 -"),
  { name: "tells that a limit is reached", text: get("/told/ok"), logs: "503 RL" },
  ...twice("says when to come again", get("/later/ok"), "429 RL"),
  ...twice("limits answers of a route's own", get("/direct"), "429 RL"),
  ...twice("refuses gRPC as exhausted", post("/exhausted/ok", "", grpc), "200 RL"),
  ...twice("refuses gRPC as unavailable", post("/grpc/ok", "", grpc), "200 RL"),
  ...twice("is off unless it is switched on", get("/off/ok"), "200 -"),
  ...twice("only marks what is not enforced", get("/lax/ok"), "200 -"),
  ...twice("gives each connection its own bucket", get("/connection/ok"), "200 -"),
  {
    name: "refuses the second request of a connection",
    text: get("/connection/ok") + get("/connection/ok"),
    logs: "200 -",
  },
  ...twice(
    "limits by what the filter itself counts by",
    get("/embedded/ok", "X-User: ann"),
    "429 RL",
  ),
  { name: "lets others through", text: get("/embedded/ok", "X-User: bob"), logs: "200 -" },
  ...twice("is switched on by a route", get("/switched-on/ok"), "429 RL"),
  ...twice("is switched on by a route with its own limit", get("/switched-otherwise/ok"), "429 RL"),
  ...twice("limits a whole listener", get("/app/ok"), "429 RL", { door: "edge" }),
  { name: "is switched off by a route", text: get("/free/ok"), door: "edge", logs: "200 -" },

  ...twice("limits by a key", get("/by-generic/ok"), "429 RL"),
  ...twice("limits by a header's value", get("/by-user/ok", "X-User: ann"), "429 RL"),
  { name: "does not limit another value", text: get("/by-user/ok", "X-User: bob"), logs: "200 -" },
  { name: "does not limit without the header", text: get("/by-user/ok"), logs: "200 -" },
  ...twice("limits by a header that matches", get("/by-match/ok", "X-Beta: 1"), "429 RL"),
  { name: "does not limit other headers", text: get("/by-match/ok", "X-Beta: 2"), logs: "200 -" },
  ...twice("limits by a query parameter that is there", get("/by-query/ok?slow"), "429 RL"),
  ...twice("limits by address", get("/by-remote/ok"), "429 RL"),
  ...twice("limits by network", get("/by-masked/ok"), "429 RL"),
  ...twice("limits by cluster", get("/by-cluster/ok"), "429 RL"),
  ...twice("only counts in a shadow", get("/by-shadow/ok?s=1"), "200 -"),
  ...twice("limits each value by itself", get("/by-each/ok", "X-User: a"), "429 RL"),
  ...twice("limits another value by itself", get("/by-each/ok", "X-User: b"), "429 RL"),
  ...twice("limits by two entries", get("/by-both/ok", "X-User: bob"), "429 RL"),
  { name: "does not limit by one of two", text: get("/by-both/ok"), logs: "200 -" },

  ...twice("limits by this proxy's cluster", get("/by-source/ok"), "429 RL"),
  ...twice("limits by a range of addresses", get("/by-near/ok"), "429 RL"),
  ...twice("does not limit beside a range of addresses", get("/by-far/ok"), "200 -"),
  ...twice("limits by a route's metadata", get("/by-level/ok"), "429 RL"),
  ...twice("limits by a default where metadata is no text", get("/by-guess/ok"), "429 RL"),
  ...twice("limits without metadata that is absent", get("/by-absent/ok"), "429 RL"),
  ...twice("does not limit by metadata of nobody", get("/by-found/ok"), "200 -"),
  { name: "takes several tokens", text: get("/heavy/ok", "X-Cost: 4"), logs: "200 -" },
  { name: "takes tokens of a fraction", text: get("/heavy/ok", "X-Cost: 4.9"), logs: "200 -" },
  { name: "refuses what costs too much", text: get("/heavy/ok", "X-Cost: 3"), logs: "429 RL" },
  { name: "does not count what has no cost", text: get("/heavy/ok", "X-Cost: x"), logs: "200 -" },
  { name: "does not count without a cost", text: get("/heavy/ok"), logs: "200 -" },
  { name: "refuses what costs nothing", text: get("/heavy/ok", "X-Cost: 0"), logs: "429 RL" },
  { name: "takes what is left", text: get("/heavy/ok", "X-Cost: 2"), logs: "200 -" },
  ...twice("takes several tokens of its own", get("/heavier/ok"), "429 RL"),
  ...twice("tells nothing where a limit says so", get("/untold/ok"), "429 RL"),
  ...twice("tells of a limit that says so", get("/retold/ok"), "429 RL"),
  ...twice("tells nothing of the default bucket", get("/default/ok"), "429 RL"),

  ...twice("limits by the virtual host", get("/none/ok", "Host: host.test"), "429 RL"),
  { name: "counts by the route alone", text: get("/own/ok", "Host: host.test"), logs: "200 -" },
  {
    name: "counts by the virtual host beside the route",
    text: get("/both/ok", "Host: host.test"),
    logs: "429 RL",
  },
];

const mutations: readonly Scenario[] = [
  {
    name: "changes headers",
    text: get("/app/headers", "X-More: one", "X-Gone: 1", "X-Secret-A: 1", "X-Secrets: 1"),
    logs: "200 -",
  },
  { name: "changes headers by the level", text: get("/own/ok", "X-Level: client"), logs: "200 -" },
  {
    name: "changes a query",
    text: get("/query/ok?z=1&a=1&b=1&c=1&c=2&d=1&e=1&e=2&bare&%65=1"),
    logs: "200 -",
  },
  { name: "changes an escaped query", text: get("/query/ok?%41=%20"), logs: "200 -" },
  { name: "adds to a query that is not there", text: get("/query/ok"), logs: "200 -" },
  { name: "changes the headers of a failure", text: get("/refused/ok"), logs: "503 UF" },
  { name: "changes the headers of an own answer", text: get("/direct"), logs: "200 -" },
  { name: "leaves headers where it is off", text: get("/off/headers", "X-Gone: 1"), logs: "200 -" },
  { name: "writes what logs can tell into headers", text: get("/formats/ok"), logs: "200 -" },
].map((scenario) => ({ ...scenario, door: "behind" as const }));

const replies: readonly Scenario[] = [
  { name: "passes an error of the application", text: get("/app/error"), logs: "500 -" },
  { name: "passes a 404 of nobody as 410", text: get("/nowhere"), logs: "410 NR" },
  { name: "tells of a failure in JSON", text: get("/refused/ok"), logs: "504 UF" },
  { name: "tells of a failure in JSON but its head", text: head("/refused/ok"), logs: "504 UF" },
  { name: "wraps an answer of its own", text: get("/direct"), logs: "200 -" },
  { name: "wraps a typed answer of its own", text: get("/typed"), logs: "200 -" },
  { name: "says by a header what it is", text: get("/direct", "X-Tea: 1"), logs: "418 -" },
  { name: "says nothing with 204", text: get("/none"), logs: "204 -" },
  { name: "wraps an empty answer", text: get("/empty"), logs: "200 -" },
  { name: "wraps a redirect", text: get("/away"), logs: "301 -" },
  { name: "wraps a cluster that is not there", text: get("/missing"), logs: "503 NC" },
  { name: "makes an answer of a format", text: get("/formatted?q=1"), logs: "299 -" },
  { name: "makes an answer of JSON", text: get("/json"), logs: "200 -" },
  {
    name: "wraps a refused request",
    text: "GET / HTTP/1.1\r\nhost: a\r\nx: \0\r\n\r\n",
    logs: "400 DPE",
  },
  { name: "maps a failure for gRPC", text: post("/nowhere", "", grpc), logs: "200 NR" },
  { name: "maps a failed upstream for gRPC", text: post("/refused", "", grpc), logs: "200 UF" },
  { name: "maps an answer for gRPC", text: post("/direct", "", grpc, "X-Tea: 1"), logs: "200 -" },
].map((scenario) => ({ ...scenario, door: "client" as const }));

const sessions: readonly Scenario[] = [
  { name: "begins a session", text: get("/new/ok"), logs: "200 -" },
  { name: "stays with its endpoint", text: get("/stay/ok"), logs: "200 -" },
  { name: "stays with its endpoint again", text: get("/stay/ok"), logs: "200 -" },
  { name: "stays with an endpoint that fails", text: get("/closed/ok"), logs: "503 UF" },
  { name: "leaves an endpoint that is gone", text: get("/gone/ok"), logs: "200 -" },
  { name: "fails where it must stay", text: get("/strict-gone/ok"), logs: "503 UH" },
  { name: "stays where it must", text: get("/strict-stay/ok"), logs: "200 -" },
  { name: "begins anew with a broken cookie", text: get("/broken/ok"), logs: "200 -" },
  { name: "has no session where it is off", text: get("/off/ok"), logs: "200 -" },
  { name: "begins a session for a time", text: get("/timed/a/ok"), logs: "200 -" },
  { name: "has no session beside its path", text: get("/timed/ab/ok"), logs: "200 -" },
  { name: "stays by a header", text: get("/header/ok"), logs: "200 -" },
  { name: "begins a session in a header", text: get("/new-header/ok"), logs: "200 -" },
  { name: "picks a cluster by a header", text: get("/picked/ok", "X-Pick: 7"), logs: "200 -" },
  { name: "picks another by a header", text: get("/picked/ok", "X-Pick: 5"), logs: "503 UF" },
  { name: "rewrites by a template", text: get("/t/x/y/z?q=1"), logs: "200 -" },
  { name: "rewrites by a template what is left open", text: get("/t/x=1/"), logs: "200 -" },
  { name: "matches by a template", text: get("/one/a.ok?b"), logs: "200 -" },
  { name: "matches a template whole", text: get("/one/a/b.ok"), logs: "404 -" },
  { name: "denies by a template", text: get("/shut/a%20=1/door"), logs: "403 -" },
  { name: "denies by a template with a query", text: get("/shut/a/door?x=1"), logs: "403 -" },
  { name: "does not deny beside a template", text: get("/shut/a/b/ok"), logs: "200 -" },
  { name: "matches metadata that is not there", text: get("/metadata/ok"), logs: "200 -" },
].map((scenario) => ({ ...scenario, door: "server" as const }));

function head(path: string): string {
  return message("HEAD", path, "", []);
}

export const filterScenarios: readonly Scenario[] = [
  ...limits,
  ...mutations,
  ...replies,
  ...sessions,
  { name: "passes what no filter touches", text: message("GET", "/app/ok", "", []), logs: "200 -" },
];
