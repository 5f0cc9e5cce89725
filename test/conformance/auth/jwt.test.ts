/**
 * Tokens, over one bootstrap file, under Heddle's data plane (both I/O backends, and data workers) and
 * under Envoy: what the client sees, what the upstream sees, what the log says. Where the two differ,
 * and are meant to, known-differences.md says why.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { findEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { readKnownDifferences } from "../http1/known-differences.ts";
import { type ScenarioApplication, startApplication } from "../proxy/scenario-application.ts";
import { runEnvoy, runHeddle, type RunningData } from "../proxy/scenario-proxies.ts";
import { jwtBootstrap, remoteKeySet } from "./jwt-bootstrap.ts";
import { placeScenarios } from "./jwt-place-scenarios.ts";
import { tokenScenarios } from "./jwt-token-scenarios.ts";

const backends = {
  portable: { io: "portable", workers: 0 },
  epoll: { io: "epoll", workers: 0 },
  "two workers": { io: "epoll", workers: 2 },
} as const;

/** Where Heddle differs, and is meant to. */
const accepted = new Set(readKnownDifferences().flatMap(({ tokens }) => tokens));

const jwtScenarios = [...tokenScenarios, ...placeScenarios];

const applications: ScenarioApplication[] = [];
const heddles = new Map<string, RunningData>();
const asked = new Set<string>();
let askedAhead = 0;
let askedAtStart = 0;
let keyServer: http.Server | undefined;
let envoy: RunningData | undefined;

before(async () => {
  const server = http.createServer(({ url, headers }, answer) => {
    asked.add(`${headers.host ?? ""}${url ?? ""}`);
    if (url === "/ahead") askedAhead++;
    answer.end(url === "/sets/one" || url === "/ahead" ? remoteKeySet : "no keys");
  });
  keyServer = server;
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const ports = { keys: address.port, closed: await freePort() };
  // One for each, so that all can be asked at once.
  const next = async (): Promise<ScenarioApplication> => {
    const application = await startApplication();
    applications.push(application);
    return application;
  };
  for (const [name, how] of Object.entries(backends)) {
    const application = await next();
    const texts = jwtBootstrap({ application: application.port, ...ports });
    heddles.set(name, await runHeddle(texts, application, how));
  }
  const binary = findEnvoy();
  if (binary === undefined) return;
  const application = await next();
  const texts = jwtBootstrap({ application: application.port, ...ports });
  envoy = await runEnvoy(binary, texts, application);
  askedAtStart = askedAhead;
});

after(async () => {
  for (const heddle of heddles.values()) await heddle.close();
  await envoy?.close();
  for (const application of applications) application.close();
  keyServer?.closeAllConnections();
  keyServer?.close();
});

for (const scenario of jwtScenarios) {
  test(`jwt_authn ${scenario.name}`, async () => {
    const { door = "mesh", text, logs, name } = scenario;
    assert.ok(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
    const bytes = typeof text === "string" ? text : text();
    const ask = (one: RunningData) => one.ask(door, bytes, undefined);
    const [theirs, ...ours] = await Promise.all([envoy, ...heddles.values()].map(ask));
    for (const [at, io] of [...heddles.keys()].entries()) {
      const entry = ours[at]?.log[0] ?? "";
      assert.ok(entry.startsWith(logs), JSON.stringify({ io, ours: ours[at], theirs }));
      if (!accepted.has(name)) assert.deepEqual(ours[at], theirs, `${io}, then Envoy`);
      else assert.ok(!isDeepStrictEqual(ours[at], theirs), "no longer differs: strike it off");
    }
  });
}

test("the keys' server was asked for what the configuration names", () => {
  const names = ["keys.test/ahead", "keys.test/bad", "keys.test/sets/one"];
  assert.deepEqual([...asked].toSorted(), names);
});

test("keys that are fetched ahead are there when listeners serve, and no request asks for them", () => {
  // Two listeners of each of four: where threads serve, of each thread.
  assert.equal(askedAtStart, 10);
  assert.equal(askedAhead, 10);
});

test("what is accepted names scenarios", () => {
  const names = new Set(jwtScenarios.map(({ name }) => name));
  assert.equal(names.size, jwtScenarios.length);
  for (const name of accepted) assert.ok(names.has(name), name);
});
