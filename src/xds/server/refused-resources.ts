import type { Change } from "./subscription.ts";

/** Above this many, naming all of a response's resources would tell nobody anything. */
const namedMax = 3;

/**
 * Which resources a refusal is about. The protocol has no field for it: Envoy and Heddle name them in
 * the reason (`Error adding/updating cluster(s) outbound|80||a.b: …`), a short response leaves no doubt.
 */
export function refusedResources(reason: string, change: Change): readonly string[] {
  const names = change.resources.map(({ name }) => name);
  const named = names.filter((name) => reason.includes(name));
  // `80` occurs inside `outbound|80||cart`: a name that another holds does not count by itself.
  const distinct = named.filter(
    (name) => !named.some((other) => other !== name && other.includes(name)),
  );
  if (distinct.length > 0) return distinct;
  return names.length <= namedMax ? names : [];
}
