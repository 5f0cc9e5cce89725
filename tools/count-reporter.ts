/**
 * A node:test reporter that prints lines of JSON (see test-record.ts): what failed and what took long,
 * when that is known, and at the end the totals of the run and those of each data plane. So the lines of
 * a run that was ended before its time still say what had failed until then.
 */
import { PlaneCounter } from "./plane-counts.ts";
import { failureOf, failureOfNoTests, type TestFailed } from "./test-failures.ts";
import { lineOf } from "./test-record.ts";
import { slowTestOf } from "./test-times.ts";

interface TestEvent {
  readonly type: string;
  readonly data: {
    readonly file?: string;
    readonly name?: string;
    readonly nesting?: number;
    readonly line?: number;
    readonly details?: NonNullable<TestFailed["details"]> & {
      readonly duration_ms?: number;
      readonly type?: string;
    };
    readonly counts?: Readonly<Record<string, number>>;
  };
}

async function* countReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const planes = new PlaneCounter();
  for await (const { type, data } of events) {
    if (type === "test:pass" || type === "test:fail") {
      const { file = "", name = "", nesting = 0 } = data;
      planes.onResult({ file, name, nesting });
      const failure = type === "test:fail" ? failureOf(data) : failureOfNoTests(data);
      if (failure !== undefined) yield lineOf({ failure });
      const slow = slowTestOf(data);
      if (slow !== undefined) yield lineOf({ slow });
    }
    // The summary without a file is the one of the whole run.
    if (type === "test:summary" && data.file === undefined && data.counts !== undefined) {
      yield lineOf({ counts: data.counts, suites: planes.suites });
    }
  }
}

// node:test takes a reporter's default export and nothing else.
// oxlint-disable-next-line import/no-default-export
export default countReporter;
