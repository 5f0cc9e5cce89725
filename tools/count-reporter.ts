/** A node:test reporter that prints one line of JSON: the totals of a run. */
interface TestEvent {
  readonly type: string;
  readonly data: {
    readonly file?: string;
    readonly counts?: Readonly<Record<string, number>>;
  };
}

async function* countReporter(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of events) {
    // The summary without a file is the one of the whole run.
    if (event.type === "test:summary" && event.data.file === undefined) {
      yield `${JSON.stringify(event.data.counts)}\n`;
    }
  }
}

// node:test takes a reporter's default export and nothing else.
// oxlint-disable-next-line import/no-default-export
export default countReporter;
