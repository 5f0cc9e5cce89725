/** Every probe against Heddle on both backends, and against Envoy with the same configuration. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { acceptedDifferences } from "../proxy/scenario-differences.ts";
import { readKnownDifferences } from "./known-differences.ts";
import { type Observed, type Probe, probes, type SeenRequest } from "./probes.ts";
import {
  type Answered,
  type Application,
  ask,
  type Asked,
  startApplication,
  startEnvoyFor,
  startHeddle,
} from "./servers.ts";

let application: Application;
const backends = ["portable", "epoll"] as const;
const heddles = new Map<string, Asked>();
let envoy: Asked | undefined;
const outcomes = new Map<string, ReadonlyMap<string, Outcome>>();

before(async () => {
  application = await startApplication();
  for (const io of backends) heddles.set(io, await startHeddle(application.port, io));
  envoy = await startEnvoyFor(application.port);
});

after(async () => {
  for (const heddle of heddles.values()) await heddle.close();
  await envoy?.close();
  await application.close();
});

interface Outcome {
  readonly status: number | "closed";
  readonly answered: Answered;
  readonly seen: readonly SeenRequest[];
  /** What does not hold, if anything. */
  readonly wrong: string | undefined;
  /** All that is compared between proxies. */
  readonly summary: string;
}

async function outcomeOf({ port }: Asked, probe: Probe): Promise<Outcome> {
  application.takeSeen();
  const answered = await ask(port, probe.bytes, { answers: probe.answers?.length ?? 1 });
  const observed: Observed = { ...answered, seen: application.takeSeen() };
  const [status = "closed"] = answered.statuses;
  const statuses = probe.answers === undefined ? [status] : answered.statuses;
  const wrong = probe.holds?.(observed);
  const summary = [statuses.join(), wrong ?? "as it should"].join("; ");
  return { status, answered, seen: observed.seen, wrong, summary };
}

/** Of all probes; asked once. */
async function outcomesOf(name: string): Promise<ReadonlyMap<string, Outcome>> {
  const known = outcomes.get(name);
  if (known !== undefined) return known;
  const proxy = name === "envoy" ? envoy : heddles.get(name);
  assert.ok(
    proxy !== undefined,
    `no ${name} at hand: npm test installs Envoy, or set HEDDLE_ENVOY`,
  );
  const found = new Map<string, Outcome>();
  for (const probe of probes) found.set(probe.id, await outcomeOf(proxy, probe));
  outcomes.set(name, found);
  return found;
}

const listed = new Set(readKnownDifferences().flatMap((one) => one.probes));

for (const io of backends) {
  test(`heddle answers every probe as it should, and passes nothing smuggled on (${io})`, async () => {
    const wrong: string[] = [];
    const found = await outcomesOf(io);
    for (const { id, expect, answers } of probes) {
      const outcome = found.get(id);
      assert.ok(outcome !== undefined);
      const { status, answered } = outcome;
      if (!expect.includes(status)) wrong.push(`${id}: ${status}, not ${expect.join(" or ")}`);
      if (answers !== undefined && answered.statuses.join() !== answers.join()) {
        wrong.push(`${id}: ${answered.statuses.join()}, not ${answers.join()}`);
      }
      if (outcome.wrong !== undefined) wrong.push(`${id}: ${outcome.wrong}`);
      if (outcome.seen.some(({ path }) => path.includes("smuggled"))) wrong.push(`${id}: smuggled`);
    }
    assert.deepEqual(wrong, []);
  });

  test(`heddle and Envoy agree, but for what known-differences.md lists (${io})`, async () => {
    const [own, theirs] = [await outcomesOf(io), await outcomesOf("envoy")];
    const different: string[] = [];
    const laxer: string[] = [];
    const stale = new Set(listed);
    for (const { id } of probes) {
      const [ours, other] = [own.get(id), theirs.get(id)];
      if (ours === undefined || other === undefined || ours.summary === other.summary) continue;
      stale.delete(id);
      if (!listed.has(id)) different.push(`${id}: ${ours.summary}, Envoy ${other.summary}`);
      if (isServed(ours) && !isServed(other)) laxer.push(id);
    }
    assert.deepEqual(different, []);
    assert.deepEqual([...stale], [], "listed, but the two agree");
    assert.deepEqual(laxer, [], "served by Heddle, refused by Envoy");
  });
}

function isServed({ status }: Outcome): boolean {
  return status !== "closed" && status < 400;
}

test("no probe of the list is missing, none is there twice", () => {
  const wanted = readFileSync(join(import.meta.dirname, "probe-ids.txt"), "utf8")
    .trim()
    .split(/\s+/);
  assert.equal(wanted.length, 215);
  const ids = probes.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length, "ids are unique");
  assert.deepEqual(
    wanted.filter((id) => !ids.includes(id)),
    [],
  );
});

test("known-differences.md is short, and each entry names its document and its test", () => {
  const differences = readKnownDifferences();
  assert.ok(differences.length <= 20, `${differences.length} entries`);
  const ids = new Set(probes.map(({ id }) => id));
  const scenarios = new Set<string>();
  for (const { title, text, ...lists } of differences) {
    assert.match(text, /RFC \d{4}|specification|standard/, title);
    assert.ok(lists.tests.length > 0 && lists.tests.every((file) => existsSync(file)), title);
    assert.ok(Object.values(lists).flat().length > lists.tests.length, title);
    for (const id of lists.probes) assert.ok(ids.has(id), `${title}: ${id}`);
    for (const name of lists.scenarios) scenarios.add(name);
  }
  assert.deepEqual([...scenarios].toSorted(), Object.keys(acceptedDifferences).toSorted());
});
