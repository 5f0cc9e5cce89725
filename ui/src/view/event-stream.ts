/**
 * Server-sent events out of a response's text, piece by piece. The browser's own `EventSource` cannot
 * send the header that carries the token.
 */
export interface StreamEvent {
  readonly name: string;
  readonly text: string;
}

/** Takes pieces of the stream, gives back the events they complete. Comments and `retry` are skipped. */
export function createEventReader(): (piece: string) => readonly StreamEvent[] {
  let rest = "";
  return (piece) => {
    const blocks = (rest + piece).split("\n\n");
    rest = blocks.pop() ?? "";
    return blocks.flatMap(eventOf);
  };
}

function eventOf(block: string): readonly StreamEvent[] {
  let name = "message";
  const lines: string[] = [];
  for (const line of block.split("\n")) {
    const [, field, value = ""] = /^(\w+): ?(.*)$/.exec(line) ?? [];
    if (field === "event") name = value;
    if (field === "data") lines.push(value);
  }
  return lines.length === 0 ? [] : [{ name, text: lines.join("\n") }];
}
