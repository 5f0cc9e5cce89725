/** A node:test reporter that prints one line of JSON: the totals of a run, and those of each data plane. */
import { PlaneCounter } from "./plane-counts.ts";

interface TestEvent {
  readonly type: string;
  readonly data: {
    readonly file?: string;
    readonly name?: string;
    readonly nesting?: number;
    readonly counts?: Readonly<Record<string, number>>;
  };
}

async function* countReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  const planes = new PlaneCounter();
  for await (const event of events) {
    if (event.type === "test:pass" || event.type === "test:fail") {
      const { file = "", name = "", nesting = 0 } = event.data;
      planes.onResult({ file, name, nesting });
    }
    // The summary without a file is the one of the whole run.
    if (event.type === "test:summary" && event.data.file === undefined) {
      yield `${JSON.stringify({ ...event.data.counts, planes: planes.counts })}\n`;
    }
  }
}

// node:test takes a reporter's default export and nothing else.
// oxlint-disable-next-line import/no-default-export
export default countReporter;
