/** What a run of the tests adds up to, and what makes it fail although no test has failed. */

import type { PlaneCounts } from "./plane-counts.ts";

export type Counts = Record<
  "tests" | "passed" | "failed" | "cancelled" | "skipped" | "todo",
  number
>;

export function noCounts(): Counts {
  return { tests: 0, passed: 0, failed: 0, cancelled: 0, skipped: 0, todo: 0 };
}

/** Of a run of everything: `minimum` is what test/count.json says for this user. */
export function complaintsOf(total: Counts, minimum: number): readonly string[] {
  const complaints: string[] = [];
  if (total.tests < minimum) {
    complaints.push(`${total.tests} tests ran, test/count.json expects ${minimum} or more`);
  }
  if (total.skipped + total.todo > 0) complaints.push("skipped tests are not accepted");
  return complaints;
}

/** How many tests each data plane was asked, and where one was asked more. */
export function planesOf(runs: readonly PlaneCounts[]): readonly string[] {
  const sum = (plane: "heddle" | "envoy" | "alone"): number =>
    runs.reduce((all, counts) => all + counts[plane], 0);
  if (sum("heddle") + sum("envoy") === 0) return [];
  return [
    `data planes: ${sum("heddle")} tests on heddle, ${sum("envoy")} on envoy, ${sum("alone")} of what one of them alone has`,
    ...runs.flatMap(({ unequal }) => unequal).map((suite) => `  not as many on both: ${suite}`),
  ];
}

/** In the form of node:test's own summary. */
export function summaryOf(total: Counts, elapsedMs: number): readonly string[] {
  return [
    `ℹ tests ${total.tests}`,
    "ℹ suites 0",
    `ℹ pass ${total.passed}`,
    `ℹ fail ${total.failed}`,
    `ℹ cancelled ${total.cancelled}`,
    `ℹ skipped ${total.skipped}`,
    `ℹ todo ${total.todo}`,
    `ℹ duration_ms ${elapsedMs.toFixed(0)}`,
  ];
}
