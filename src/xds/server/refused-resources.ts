import type { EncodedResource } from "../snapshot.ts";
import type { Change } from "./subscription.ts";

/** Above this many, naming all of a response's resources would tell nobody anything. */
const namedMax = 3;

/**
 * Which resources a refusal is about. The protocol has no field for it: Envoy and Heddle name them in
 * the reason (`Error adding/updating cluster(s) outbound|80||a.b: …`), a short response leaves no doubt.
 */
export function refusedResources(reason: string, change: Change): readonly EncodedResource[] {
  const { resources } = change;
  const named = resources.filter(({ name }) => isNamed(name, reason));
  if (named.length > 0) return named;
  return resources.length <= namedMax ? resources : [];
}

const partOfName = /[A-Za-z0-9_.|-]/;

/** Whether `name` stands in the text by itself, not inside a longer name (`80` in `outbound|80||a`). */
function isNamed(name: string, text: string): boolean {
  for (let at = text.indexOf(name); at >= 0; at = text.indexOf(name, at + 1)) {
    const before = text[at - 1] ?? " ";
    const after = text[at + name.length] ?? " ";
    // A full stop may end the sentence instead of going on with the name.
    const isEnd =
      !partOfName.test(after) ||
      (after === "." && !partOfName.test(text[at + name.length + 1] ?? " "));
    if (!partOfName.test(before) && isEnd) return true;
  }
  return false;
}
