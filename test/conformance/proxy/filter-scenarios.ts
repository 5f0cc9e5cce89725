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

  ...twice("limits by the virtual host", get("/none/ok", "Host: host.test"), "429 RL"),
  { name: "counts by the route alone", text: get("/own/ok", "Host: host.test"), logs: "200 -" },
  {
    name: "counts by the virtual host beside the route",
    text: get("/both/ok", "Host: host.test"),
    logs: "429 RL",
  },
];

export const filterScenarios: readonly Scenario[] = [
  ...limits,
  { name: "passes what no filter touches", text: message("GET", "/app/ok", "", []), logs: "200 -" },
];
