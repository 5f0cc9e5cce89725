/**
 * Runs one bootstrap file under Heddle's data plane (on both I/O backends, and with data workers) and
 * under Envoy, sends each the same requests, and compares what came of them. Scenarios are asked in
 * order, so that one may build on what another did.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { findEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { type ScenarioApplication, startApplication } from "./scenario-application.ts";
import type { Backends } from "./scenario-bootstrap.ts";
import {
  type Outcome,
  type Place,
  runEnvoy,
  runHeddle,
  type RunningData,
} from "./scenario-proxies.ts";
import type { Scenario } from "./scenarios.ts";

export type AcceptedDifferences = Readonly<
  Record<string, { readonly [Field in keyof Outcome]?: string }>
>;

export interface Comparison {
  readonly scenarios: readonly Scenario[];
  readonly bootstrap: (backends: Backends) => (place: Place) => string;
  /** By scenario: what differs from Envoy, and why it is meant to. */
  readonly accepted: AcceptedDifferences;
}

const outcomeFields: readonly (keyof Outcome)[] = [
  "statusLine",
  "clientHeaders",
  "body",
  "closed",
  "upstream",
  "log",
];

const backends = {
  portable: { io: "portable", workers: 0 },
  epoll: { io: "epoll", workers: 0 },
  "two workers": { io: "epoll", workers: 2 },
} as const;

/** Makes a test of each scenario on each backend. */
export function comparePlanes({ scenarios, bootstrap, accepted }: Comparison): void {
  let application: ScenarioApplication | undefined;
  const heddles = new Map<string, RunningData>();
  let envoy: RunningData | undefined;
  const envoyOutcomes = new Map<Scenario, Outcome>();

  before(async () => {
    application = await startApplication();
    const texts = bootstrap({ application: application.port, closed: await freePort() });
    for (const [name, how] of Object.entries(backends)) {
      heddles.set(name, await runHeddle(texts, application, how));
    }
    const binary = findEnvoy();
    if (binary !== undefined) envoy = await runEnvoy(binary, texts, application);
  });

  after(async () => {
    for (const heddle of heddles.values()) await heddle.close();
    await envoy?.close();
    application?.close();
  });

  for (const [scenario, io] of scenarios.flatMap((one) =>
    Object.keys(backends).map((name) => [one, name] as const),
  )) {
    test(`proxy() ${scenario.name} (${io})`, async () => {
      const { door = "mesh", text, hangsUpAfterMs } = scenario;
      assert.ok(
        envoy !== undefined,
        "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY",
      );
      const heddle = heddles.get(io);
      assert.ok(heddle !== undefined);
      const ours = await heddle.ask(door, text, hangsUpAfterMs);
      const theirs =
        envoyOutcomes.get(scenario) ??
        (await envoy.ask(door, text, hangsUpAfterMs, ours.log.length));
      envoyOutcomes.set(scenario, theirs);
      compare(scenario, { ours, theirs, accepted: accepted[scenario.name] ?? {} });
    });
  }

  test("the list of accepted differences names only scenarios and what is compared", () => {
    const names = new Set(scenarios.map(({ name }) => name));
    assert.equal(names.size, scenarios.length, "names are unique");
    for (const [name, fields] of Object.entries(accepted)) {
      assert.ok(names.has(name), name);
      for (const field of Object.keys(fields))
        assert.ok(outcomeFields.some((one) => one === field));
    }
  });
}

interface Compared {
  readonly ours: Outcome;
  readonly theirs: Outcome;
  readonly accepted: AcceptedDifferences[string];
}

function compare(scenario: Scenario, { ours, theirs, accepted }: Compared): void {
  const entry = ours.log[0] ?? "";
  assert.match(entry, new RegExp(`^${scenario.logs}( |$)`), JSON.stringify({ ours, theirs }));
  const unexpected: Record<string, unknown>[] = [{}, {}];
  for (const field of outcomeFields) {
    const differs = !isDeepStrictEqual(ours[field], theirs[field]);
    if (accepted[field] !== undefined) {
      assert.ok(differs, `${field} no longer differs: strike it off the list`);
    } else if (differs) {
      unexpected[0] = { ...unexpected[0], [field]: ours[field] };
      unexpected[1] = { ...unexpected[1], [field]: theirs[field] };
    }
  }
  assert.deepEqual(unexpected[0], unexpected[1], "actual: Heddle, expected: Envoy");
}
