/** Every probe against Heddle, and against Envoy with the same configuration where there is one. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { probes } from "./probes.ts";
import {
  type Application,
  ask,
  type Asked,
  startApplication,
  startEnvoyFor,
  startHeddle,
} from "./servers.ts";
import { acceptedDifferences } from "./differences.ts";

let application: Application;
const backends = ["portable", "epoll"] as const;
const heddles = new Map<string, Asked>();
let envoy: Asked | undefined;

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

for (const io of backends) {
  test(`heddle answers every probe as it should, and passes nothing smuggled on (${io})`, async () => {
    const heddle = heddleOn(io);
    const wrong: string[] = [];
    for (const { id, bytes, expect } of probes) {
      const status = await ask(heddle.port, bytes);
      if (!expect.includes(status)) wrong.push(`${id}: ${status}, not ${expect.join(" or ")}`);
    }
    assert.deepEqual(wrong, []);
    assert.deepEqual(
      application.paths.filter((path) => path.includes("smuggled")),
      [],
    );
  });

  test(`heddle and Envoy agree, but for what is listed with its reason (${io})`, async () => {
    const heddle = heddleOn(io);
    if (envoy === undefined) return;
    const different: string[] = [];
    const stale = new Set(Object.keys(acceptedDifferences));
    for (const { id, bytes } of probes) {
      const [own, other] = [await ask(heddle.port, bytes), await ask(envoy.port, bytes)];
      if (own === other) continue;
      stale.delete(id);
      if (acceptedDifferences[id] === undefined) different.push(`${id}: ${own}, Envoy ${other}`);
    }
    assert.deepEqual(different, []);
    assert.deepEqual([...stale], [], "listed, but the two agree");
  });
}

function heddleOn(io: string): Asked {
  const heddle = heddles.get(io);
  assert.ok(heddle !== undefined);
  return heddle;
}
