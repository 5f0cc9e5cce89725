/** Splits a command line into words as a shell does, without expanding anything. */
export function splitWords(line: string): readonly string[] {
  const words: string[] = [];
  const word = /(?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+/g;
  for (const [text] of line.matchAll(word)) {
    words.push(
      text.replaceAll(/\\(.)|"((?:[^"\\]|\\.)*)"|'([^']*)'/g, (_, escaped, double, single) =>
        String(escaped ?? single ?? String(double).replaceAll(/\\(["\\$`])/g, "$1")),
      ),
    );
  }
  return words;
}
