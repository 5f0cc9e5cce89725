/**
 * What becomes of requests over HTTP/2 under Heddle, on either backend, and under Envoy: what the client
 * gets, what the upstream sees, what the access log says. Where the two are meant to differ,
 * `acceptedDifferences` says why.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

import { acceptedDifferences } from "./known-differences.ts";
import {
  type Application,
  type Door,
  type Plane,
  runEnvoy,
  runHeddle,
  startApplication,
} from "./planes.ts";
import { RawClient } from "./raw-client.ts";
import { get, type Scenario, scenarios } from "./scenarios.ts";

interface Outcome {
  /** Of each stream: status, code of a reset, body. */
  readonly answers: readonly string[];
  readonly fields: readonly string[];
  /** Whether the connection said farewell with an error. */
  readonly ends: boolean;
  readonly upstream: readonly (readonly string[])[];
  readonly log: readonly string[];
}

const parts: readonly (keyof Outcome)[] = ["answers", "fields", "ends", "upstream", "log"];
const planes = new Map<string, Plane>();
const theirs = new Map<string, Promise<Outcome>>();
let application: Application | undefined;

before(async () => {
  application = await startApplication();
  for (const io of ["portable", "epoll"] as const) {
    planes.set(io, await runHeddle(io, application.port));
  }
  planes.set("envoy", await runEnvoy(application.port));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  application?.close();
});

const accidental = /^(date|x-envoy-upstream-service-time|server)$/;

function byFirstLine([one = ""]: readonly string[], [other = ""]: readonly string[]): number {
  return one < other ? -1 : Number(one > other);
}

async function ask(plane: string, door: Door, scenario: Scenario): Promise<Outcome> {
  const { ports, readLog } = planes.get(plane) ?? assert.fail();
  const { streams = [1] } = scenario;
  // What the scenario before left behind, when its connection closed, stands before this.
  const logFrom = 1 + (await untilLogged(readLog, ports[door]));
  application?.takeSeen();
  const client = await RawClient.connect(ports[door]);
  client.begin();
  await scenario.send(client, application ?? assert.fail());
  const { isOver, patienceMs = 30_000 } = scenario;
  if (isOver === undefined) await client.settle(streams, patienceMs);
  else await client.until(() => isOver(client), patienceMs);
  const logTo = await untilLogged(readLog, ports[door]);
  client.close();
  const answers = streams.map((id) => client.streams.get(id));
  const body = (text: string): string => (text.length > 100 ? String(text.length) : text);
  return {
    answers: answers.map((one) => `${one?.status} ${one?.reset ?? "-"} ${body(one?.body ?? "")}`),
    fields: answers.flatMap((one) =>
      Object.entries(one?.fields ?? {})
        .filter(([name]) => !accidental.test(name))
        .map(([name, value]) => `${name}: ${value}`)
        .toSorted(),
    ),
    ends: (client.goAway ?? 0) !== 0 || client.isClosed,
    // Which of two connections to the application is served first is chance.
    upstream: (application?.takeSeen() ?? []).toSorted(byFirstLine),
    log: readLog().slice(logFrom, logTo),
  };
}

let markers = 0;

/**
 * Asks for something whose line in the log stands behind all that was logged until now, and waits for it:
 * its place.
 */
async function untilLogged(readLog: Plane["readLog"], port: number): Promise<number> {
  const path = `/direct?marker=${++markers}`;
  const client = await RawClient.connect(port);
  client.begin();
  client.request(1, get(path));
  await client.settle([1], 20_000);
  client.close();
  const until = performance.now() + 60_000;
  while (performance.now() < until) {
    const place = readLog().findIndex((line) => line.includes(` ${path} `));
    if (place >= 0) return place;
    await sleep(2);
  }
  return assert.fail(`${path} is not logged`);
}

const cases = scenarios.flatMap((scenario) =>
  (scenario.doors ?? ["auto", "kind"]).flatMap((door) =>
    (["portable", "epoll"] as const).map((io) => ({ scenario, door, io })),
  ),
);

for (const { scenario, door, io } of cases) {
  test(`http2 ${scenario.name} (${door}, ${io})`, async () => {
    const key = `${scenario.name} ${door}`;
    const asked = theirs.get(key) ?? ask("envoy", door, scenario);
    theirs.set(key, asked);
    const envoy = await asked;
    const heddle = await ask(io, door, scenario);
    const accepted = acceptedDifferences[key] ?? acceptedDifferences[scenario.name] ?? {};
    const unexpected: [Record<string, unknown>, Record<string, unknown>] = [{}, {}];
    for (const part of parts) {
      if (part === "upstream" && scenario.isUpstreamChance === true) continue;
      const differs = !isDeepStrictEqual(heddle[part], envoy[part]);
      if (accepted[part] !== undefined) {
        assert.ok(differs, `${part} no longer differs: strike it off the list`);
      } else if (differs) {
        unexpected[0][part] = heddle[part];
        unexpected[1][part] = envoy[part];
      }
    }
    assert.deepEqual(unexpected[0], unexpected[1], "actual: Heddle, expected: Envoy");
  });
}

test("acceptedDifferences names only scenarios", () => {
  const names = new Set(scenarios.map(({ name }) => name));
  assert.equal(names.size, scenarios.length, "names are unique");
  for (const key of Object.keys(acceptedDifferences)) {
    assert.ok(names.has(key.replace(/ (auto|strict|kind)$/, "")), key);
  }
});
