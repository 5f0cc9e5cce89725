import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { Drain, endingPlan } from "./drain.ts";

test("closesAnswer() lets connections be until a drain begins, then ends each at once", () => {
  const drain = new Drain(new FakeClock(), () => 0.999);
  assert.equal(drain.closesAnswer("inbound"), false);
  drain.begin(endingPlan(5000));
  assert.equal(drain.isDraining, true);
  assert.equal(drain.closesAnswer("inbound"), true);
});

test("closesAnswer() of a gradual drain grows with its time", () => {
  const clock = new FakeClock();
  let random = 0;
  const drain = new Drain(clock, () => random);
  drain.begin({ strategy: "gradual", acceptMs: 10_000 });
  const share = (): number => {
    let closed = 0;
    for (let i = 0; i < 100; i++) {
      random = i / 100;
      if (drain.closesAnswer("inbound")) closed++;
    }
    return closed / 100;
  };
  assert.equal(share(), 0);
  clock.advance(2500);
  assert.equal(share(), 0.25);
  clock.advance(7600);
  assert.equal(share(), 1);
});

test("setHealthy() drains while it is false, and no drain that was begun is taken back", () => {
  const drain = new Drain(new FakeClock(), () => 0.5);
  drain.setHealthy(false);
  assert.equal(drain.closesAnswer("inbound"), true);
  assert.equal(drain.closesAnswer("inbound", true), false, "a listener that ignores it");
  drain.setHealthy(true);
  assert.equal(drain.closesAnswer("inbound"), false);
  drain.begin(endingPlan(1000));
  drain.setHealthy(false);
  drain.setHealthy(true);
  assert.equal(drain.closesAnswer("inbound"), true);
});

test("closesAnswer() of a drain of inbound listeners leaves the others alone", () => {
  const drain = new Drain(new FakeClock(), () => 0.5);
  drain.begin({ strategy: "immediate", acceptMs: 0, isInboundOnly: true });
  assert.equal(drain.closesAnswer("inbound"), true);
  assert.equal(drain.closesAnswer("outbound"), false);
});
