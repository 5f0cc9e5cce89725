/**
 * A node:test reporter that prints one line of JSON: the totals of a run, those of each data plane, and
 * what failed.
 */
import { PlaneCounter } from "./plane-counts.ts";
import { failureOf, type Failure, type TestFailed } from "./test-failures.ts";

interface TestEvent {
  readonly type: string;
  readonly data: {
    readonly file?: string;
    readonly name?: string;
    readonly nesting?: number;
    readonly line?: number;
    readonly details?: NonNullable<TestFailed["details"]>;
    readonly counts?: Readonly<Record<string, number>>;
  };
}

async function* countReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const planes = new PlaneCounter();
  const failures: Failure[] = [];
  for await (const event of events) {
    if (event.type === "test:pass" || event.type === "test:fail") {
      const { file = "", name = "", nesting = 0 } = event.data;
      planes.onResult({ file, name, nesting });
      const failure = event.type === "test:fail" ? failureOf(event.data) : undefined;
      if (failure !== undefined) failures.push(failure);
    }
    // The summary without a file is the one of the whole run.
    if (event.type === "test:summary" && event.data.file === undefined) {
      yield `${JSON.stringify({ ...event.data.counts, planes: planes.counts, failures })}\n`;
    }
  }
}

// node:test takes a reporter's default export and nothing else.
// oxlint-disable-next-line import/no-default-export
export default countReporter;
