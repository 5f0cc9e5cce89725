import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { Deadline, DeadlineWheel } from "./deadline-wheel.ts";

const deadlineCount = 6;
/** Delays around a tick, a turn of the wheel and beyond: many fall into one slot. */
const delay = fc.oneof(
  fc.integer({ min: 0, max: 30 }),
  fc.constantFrom(10_220, 10_230, 10_240, 60_000),
);
const step = fc.oneof(
  fc.record({ kind: fc.constant("arm"), which: fc.nat(deadlineCount - 1), ms: delay }),
  fc.record({ kind: fc.constant("disarm"), which: fc.nat(deadlineCount - 1), ms: fc.constant(0) }),
  fc.record({ kind: fc.constant("release"), which: fc.nat(deadlineCount - 1), ms: fc.constant(0) }),
  fc.record({ kind: fc.constant("releasesNext"), which: fc.nat(deadlineCount - 1), ms: delay }),
  fc.record({ kind: fc.constant("advance"), which: fc.constant(0), ms: delay }),
);

test("DeadlineWheel calls each deadline once, not early and at most a tick late", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const clock = new FakeClock();
      const wheel = new DeadlineWheel(clock);
      /** When each is due; undefined while it is not armed. */
      const due: (number | undefined)[] = Array.from({ length: deadlineCount });
      const deadlines = due.map((_, which) => {
        const owner = {
          onDeadline(): void {
            const atMs = due[which];
            assert.ok(atMs !== undefined, "called, and not armed");
            assert.ok(clock.monotonicMs() >= atMs, "early");
            assert.ok(clock.monotonicMs() <= atMs + 20, "late");
            due[which] = undefined;
            if (!releasing.delete(which)) return;
            // The others of its slot among them, before and after it.
            wheel.release(...deadlines);
            due.fill(undefined);
          },
        };
        return new Deadline(owner);
      });
      /** Whose owner lets go of all deadlines when it is called. */
      const releasing = new Set<number>();
      const advance = (ms: number): void => {
        clock.advance(ms);
        wheel.touch();
        for (const atMs of due) {
          assert.ok(atMs === undefined || atMs + 20 > clock.monotonicMs(), "forgotten");
        }
      };
      for (const { kind, which, ms } of steps) {
        const deadline = deadlines[which];
        if (kind === "advance" || deadline === undefined) advance(ms);
        else if (kind === "arm" || kind === "releasesNext") {
          wheel.arm(deadline, ms);
          due[which] = clock.monotonicMs() + ms;
          if (kind === "releasesNext") releasing.add(which);
        } else {
          if (kind === "release") wheel.release(deadline);
          else deadline.disarm();
          due[which] = undefined;
        }
      }
      advance(100_000);
      assert.deepEqual(due.filter(Boolean), []);
      assert.equal(wheel.size, 0);
      wheel.close();
    }),
    { numRuns: 300 },
  );
});

test("DeadlineWheel.release() leaves nothing of a deadline behind", () => {
  const wheel = new DeadlineWheel(new FakeClock());
  const owner = { onDeadline: () => assert.fail("called, and released") };
  const [first, second, third] = [new Deadline(owner), new Deadline(owner), new Deadline(owner)];
  for (const deadline of [first, second, third]) wheel.arm(deadline, 50);
  second.disarm();
  assert.equal(wheel.size, 3, "a disarmed one stays for now");
  wheel.release(second);
  wheel.release(third, third);
  assert.equal(wheel.size, 1);
  wheel.release(first);
  assert.equal(wheel.size, 0);
  wheel.close();
});
