/** The path, and what follows it: the query with its question mark, or a fragment. */
export function splitPath(text: string): readonly [path: string, rest: string] {
  const end = text.search(/[?#]/);
  return end < 0 ? [text, ""] : [text.slice(0, end), text.slice(end)];
}
