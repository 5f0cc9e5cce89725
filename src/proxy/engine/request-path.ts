/** The path, and what follows it: the query with its question mark, or a fragment. */
export function splitPath(text: string): readonly [path: string, rest: string] {
  const end = endOfPath(text);
  return end < 0 ? [text, ""] : [text.slice(0, end), text.slice(end)];
}

/** The path alone; costs nothing where nothing follows. */
export function pathOf(text: string): string {
  const end = endOfPath(text);
  return end < 0 ? text : text.slice(0, end);
}

function endOfPath(text: string): number {
  const query = text.indexOf("?");
  const fragment = text.indexOf("#");
  if (fragment < 0) return query;
  return query < 0 ? fragment : Math.min(query, fragment);
}
