import { get, message, post, type Scenario } from "./scenarios.ts";

const shop = "Origin: https://shop.test";
const other = "Origin: https://other.example";
const preflight = (path: string, ...fields: readonly string[]): string =>
  message("OPTIONS", path, "", [
    "Access-Control-Request-Method: PUT",
    "Access-Control-Request-Headers: x-c",
    "Access-Control-Request-Private-Network: true",
    ...fields,
  ]);
const rate = "x-envoy-fault-throughput-response";

const slow: readonly Scenario[] = [
  { name: "sends a long answer slowly", text: get("/slow/long"), logs: "200 -" },
  { name: "sends chunks and trailers slowly", text: get("/slow/trailed"), logs: "200 -" },
  { name: "sends what ends with its connection slowly", text: get("/slow/until"), logs: "200 -" },
  {
    name: "sends a head alone at once",
    text: message("HEAD", "/slow/head", "", []),
    logs: "200 -",
  },
  { name: "sends no content at once", text: get("/slow/no-content"), logs: "204 -" },
  { name: "sends its own answer slowly", text: get("/aborted"), logs: "503 FI" },
  { name: "limits no share of answers", text: get("/never/long"), logs: "200 -" },
  { name: "limits nothing beyond its faults", text: get("/full/ok"), logs: "200 -" },
  ...[
    ["as fast as it is asked", `${rate}: 8`],
    ["at once where nobody asks", "x-none: 1"],
    ["at once where it is asked for nothing", `${rate}: 0`],
    ["at once where it is asked in words", `${rate}: 4k`],
  ].map(([how = "", field = ""]) => ({
    name: `sends an answer ${how}`,
    text: get("/asked/long", field),
    logs: "200 -",
  })),
  {
    name: "sends an answer at once where a share of none is asked",
    text: get("/asked/long", `${rate}: 1`, `${rate}-percentage: 0`),
    logs: "200 -",
  },
  {
    name: "serves two slow answers in turn",
    text: get("/slow/ok") + get("/slow/ok"),
    logs: "200 -",
  },
];

const cors: readonly Scenario[] = [
  "below",
  "own",
  "closed",
  "shadowed",
  "stopped",
  "everybody",
  "newer",
].flatMap((route) =>
  [
    [`asks as a stranger: ${route}`, get(`/${route}/ok`, "Host: cors.test", other)],
    [`asks from an origin: ${route}`, get(`/${route}/ok`, "Host: cors.test", shop)],
    [`asks beforehand: ${route}`, preflight(`/${route}/ok`, "Host: cors.test", shop)],
    [
      `asks beforehand as a stranger: ${route}`,
      preflight(`/${route}/ok`, "Host: cors.test", other),
    ],
  ].map(([name = "", text = ""]) => ({ name, text, logs: "200 -" })),
);

const origins: readonly Scenario[] = [
  ...cors,
  {
    name: "asks beforehand by two layers",
    text: preflight("/ok", "Host: layered.test", shop),
    logs: "200 -",
  },
  { name: "asks by two layers", text: get("/ok", "Host: layered.test", shop), logs: "200 -" },
  {
    name: "asks for an own answer from an origin",
    text: get("/answers", "Host: cors.test", shop),
    logs: "200 -",
  },
  {
    name: "asks with an empty origin",
    text: get("/everybody/ok", "Host: cors.test", "Origin: "),
    logs: "200 -",
  },
];

/** What is sent again is sent thrice, and `unavailable` each time. */
const kept: readonly Scenario[] = [
  {
    name: "does not send again what its host does not keep",
    text: post("/host/unavailable", "hello", "Host: little.test"),
    logs: "503 -",
  },
  {
    name: "sends again what its host keeps",
    text: post("/host/a/unavailable", "four", "Host: little.test"),
    logs: "503 URX",
  },
  {
    name: "sends again what its route keeps",
    text: post("/route/unavailable", "hello", "Host: little.test"),
    logs: "503 URX",
  },
  {
    name: "sends again what is kept beyond its host's limit",
    text: post("/whole/unavailable", "hello", "Host: little.test"),
    logs: "503 URX",
  },
  {
    name: "does not send a body again where nothing is kept",
    text: post("/nothing/unavailable", "h", "Host: little.test"),
    logs: "503 -",
  },
  {
    name: "sends again where there is no body to keep",
    text: get("/nothing/a/unavailable", "Host: little.test"),
    logs: "503 URX",
  },
  {
    name: "goes by its host's newer limit",
    text: post("/host/b/unavailable", "h", "Host: nothing.test"),
    logs: "503 -",
  },
  {
    name: "goes by its route's newer limit",
    text: post("/route/c/unavailable", "abc", "Host: nothing.test"),
    logs: "503 URX",
  },
  {
    name: "goes by its route's newer limit, and not beyond",
    text: post("/route/d/unavailable", "abcd", "Host: nothing.test"),
    logs: "503 -",
  },
];

const routes: readonly Scenario[] = [
  { name: "forwards nothing", text: get("/local"), logs: "503 NC" },
  { name: "has shown no certificate", text: get("/presented"), logs: "200 -" },
  { name: "has no certificate that is known", text: get("/validated"), logs: "200 -" },
  { name: "has neither", text: get("/neither"), logs: "200 -" },
];

const at = (door: Scenario["door"], scenarios: readonly Scenario[]): readonly Scenario[] =>
  scenarios.map((scenario) => ({ ...scenario, ...(door === undefined ? {} : { door }) }));

const silence = at("edge", [
  { name: "says nothing of itself", text: get("/ok"), logs: "200 -" },
  { name: "says nothing of what it has rewritten", text: get("/rewritten/ok"), logs: "200 -" },
  { name: "says nothing of a server that says so itself", text: get("/headers"), logs: "200 -" },
  { name: "says nothing of being full", text: get("/overflowing"), logs: "503 UO" },
  { name: "says nothing of tries", text: get("/tried/unavailable"), logs: "503 URX" },
  {
    name: "passes what its client says",
    text: get("/ok", "x-envoy-expected-rq-timeout-ms: 7", "x-envoy-original-path: /a"),
    logs: "200 -",
  },
  { name: "takes no address in place of a path", text: get("http://other.test/ok"), logs: "404 -" },
]);

const controls = [
  "x-envoy-upstream-rq-timeout-ms",
  "x-envoy-upstream-rq-per-try-timeout-ms",
  "x-envoy-max-retries",
];
const sound = at(
  "behind",
  [
    ...controls.flatMap((field) => [
      `${field}: 1000`,
      `${field}: soon`,
      `${field}: -1`,
      `${field}: 1.5`,
      `${field}: `,
      `${field}: 99999999999`,
    ]),
    ...["5xx", "5xx,reset", "5xx, reset", "often", "5xx,often", ""].map(
      (on) => `x-envoy-retry-on: ${on}`,
    ),
    ...["cancelled", "unavailable,internal", "5xx"].map((on) => `x-envoy-retry-grpc-on: ${on}`),
  ].map((field) => ({
    name: `looks at what it is asked: ${field}`,
    text: get("/app/ok", "Host: own.test", field, "X-Forwarded-For: 127.0.0.1"),
    logs: "(200 -|400 IH)",
  })),
);
const unsound = "x-envoy-max-retries: many";
const invalid = at("behind", [
  {
    name: "refuses what is not sound before there is a route",
    text: get("/nowhere", unsound, "X-Forwarded-For: 127.0.0.1"),
    logs: "(404 NR|400 IH)",
  },
  {
    name: "refuses what is not sound of an own answer",
    text: get("/direct", "Host: own.test", unsound, "X-Forwarded-For: 127.0.0.1"),
    logs: "(200 -|400 IH)",
  },
  {
    name: "refuses what is not sound in the words of gRPC",
    text: post(
      "/app/ok",
      "",
      "Host: own.test",
      unsound,
      "X-Forwarded-For: 127.0.0.1",
      "Content-Type: application/grpc",
    ),
    logs: "(200|400) IH",
  },
  {
    name: "leaves out what strangers ask",
    text: get("/app/ok", "Host: own.test", unsound, "X-Forwarded-For: 203.0.113.1"),
    logs: "200 -",
  },
  {
    name: "goes on after what is no request",
    text: get("/app/ok", "Host: own.test", "X-Bad: a\x00b"),
    logs: "400 DPE",
  },
  {
    name: "goes on after a request without a host",
    text: `GET /a HTTP/1.1\r\n\r\n${get("/app/ok", "Host: own.test")}`,
    logs: "400 -",
  },
]);

const expected = "x-envoy-expected-rq-timeout-ms";
const asked = "x-envoy-upstream-rq-timeout-ms";
const inside = "X-Forwarded-For: 127.0.0.1";
const heeded = at("client", [
  {
    name: "takes the time that is expected",
    text: get("/ok", `${expected}: 5000`, inside),
    logs: "200 -",
  },
  {
    name: "takes the time that is expected, and not what is asked",
    text: get("/ok", `${expected}: 5000`, `${asked}: 3000`, inside),
    logs: "200 -",
  },
  {
    name: "takes the time that is asked where none is expected",
    text: get("/ok", `${asked}: 3000`, inside),
    logs: "200 -",
  },
  {
    name: "takes its own time where none is told in figures",
    text: get("/ok", `${expected}: soon`, `${asked}: 3000`, inside),
    logs: "200 -",
  },
  {
    name: "gives up when the expected time is over",
    text: get("/silent", `${expected}: 50`, inside),
    logs: "504 UT",
  },
  {
    name: "takes no time from strangers",
    text: get("/ok", `${expected}: 5000`, "X-Forwarded-For: 203.0.113.1"),
    logs: "200 -",
  },
  {
    name: "tells one try's time",
    text: get("/tried/ok", `${expected}: 5000`, inside),
    logs: "200 -",
  },
  {
    name: "tells the time where it has none of its own",
    text: get("/endless/ok", `${expected}: 5000`, inside),
    logs: "200 -",
  },
  { name: "tells no time where there is none", text: get("/endless/ok", inside), logs: "200 -" },
]);

const left = at("server", [
  { name: "leaves out what nobody knows and nobody needs", text: get("/ok"), logs: "200 -" },
]);

export const optionScenarios: readonly Scenario[] = [
  ...slow,
  ...origins,
  ...kept,
  ...routes,
  ...silence,
  ...sound,
  ...invalid,
  ...heeded,
  ...left,
];
