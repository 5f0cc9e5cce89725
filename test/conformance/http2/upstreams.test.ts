/**
 * Requests that go to an endpoint by HTTP/2, under Heddle, on either backend, and under Envoy: what the
 * endpoint sees, what clients of either protocol get, what the access log says, and what becomes of
 * endpoints that reset, refuse, leave or break the rules.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { acceptedUpstreamDifferences } from "./known-differences.ts";
import { type Answer, askHttp1, askHttp2, type Question } from "./upstream-clients.ts";
import { runUpstreamPlanes, type UpstreamPlane } from "./upstream-planes.ts";
import { type Endpoints, startEndpoints } from "./upstream-endpoints.ts";
import { upstreamScenarios } from "./upstream-scenarios.ts";

interface Outcome {
  readonly answer: Answer;
  readonly seen: readonly (readonly string[])[];
  readonly log: readonly string[];
}

const parts = ["answer", "seen", "log"] as const;
let endpoints: Endpoints | undefined;
let planes: readonly UpstreamPlane[] = [];

before(async () => {
  endpoints = await startEndpoints();
  planes = await runUpstreamPlanes(endpoints);
});

after(async () => {
  for (const plane of planes) await plane.close();
  await endpoints?.close();
});

async function ask(plane: UpstreamPlane, question: Question): Promise<Outcome> {
  const logged = plane.readLog().length;
  endpoints?.begin(question.script);
  const client = question.client === "http2" ? askHttp2 : askHttp1;
  const answer = await client(plane.port, question);
  const until = performance.now() + 60_000;
  while (plane.readLog().length === logged && performance.now() < until) await sleep(5);
  return { answer, seen: endpoints?.takeSeen() ?? [], log: plane.readLog().slice(logged) };
}

for (const client of ["http1", "http2"] as const) {
  for (const scenario of upstreamScenarios) {
    if (scenario.client !== undefined && scenario.client !== client) continue;
    const name = `${client}: ${scenario.name}`;
    test(`${name}: as in Envoy`, async (t) => {
      const envoy = planes.find((plane) => plane.name === "envoy") ?? assert.fail();
      const expected = await ask(envoy, { ...scenario, client });
      for (const plane of planes) {
        if (plane === envoy) continue;
        const actual = await ask(plane, { ...scenario, client });
        for (const part of parts) {
          const reason = acceptedUpstreamDifferences[name]?.[part];
          if (reason === undefined) assert.deepEqual(actual[part], expected[part], plane.name);
          else {
            t.diagnostic(`${part}: ${reason}`);
            assert.notDeepEqual(actual[part], expected[part], `${part} is as in Envoy by now`);
          }
        }
      }
    });
  }
}
