import assert from "node:assert/strict";
import { test } from "node:test";

import { Silence } from "./silence.ts";

const pid = 7;

function unansweredUntilHung(silence: Silence, max = 100): number {
  for (let probes = 1; probes <= max; probes++) if (silence.lasts(pid)) return probes;
  return Infinity;
}

test("lasts() says of a process without processor time that it hangs, soon", () => {
  assert.equal(unansweredUntilHung(new Silence(() => 100)), 6);
});

test("lasts() spares a process that works", () => {
  let ticks = 0;
  assert.equal(unansweredUntilHung(new Silence(() => (ticks += 2))), 41);
});

test("lasts() counts processor time from the first probe that was not answered", () => {
  let ticks = 0;
  const silence = new Silence(() => ticks);
  for (let probes = 0; probes < 5; probes++) assert.equal(silence.lasts(pid), false);
  ticks = 10;
  assert.equal(silence.lasts(pid), false);
});

test("end() begins anew", () => {
  const silence = new Silence(() => 100);
  for (let probes = 0; probes < 5; probes++) silence.lasts(pid);
  silence.end();
  assert.equal(unansweredUntilHung(silence), 6);
});

test("lasts() leaves a process that has ended to whoever waits for it", () => {
  assert.equal(unansweredUntilHung(new Silence(() => undefined)), Infinity);
});

test("lasts() reads the processor time of a real process", () => {
  const silence = new Silence();
  const before = process.cpuUsage();
  const takenMs = (): number => {
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  };
  assert.equal(silence.lasts(process.pid), false);
  while (takenMs() < 60);
  for (let probes = 0; probes < 8; probes++) assert.equal(silence.lasts(process.pid), false);
});
