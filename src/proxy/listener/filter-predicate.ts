import type { ListenerFilterChainMatchPredicate } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { refuse } from "../engine/refusal.ts";

/** Whether a listener filter is switched off for connections to a port. */
export type PortPredicate = (destinationPort: number) => boolean;

const neverOff: PortPredicate = () => false;

export function compilePredicate(
  predicate: ListenerFilterChainMatchPredicate | undefined,
  path: string,
): PortPredicate {
  return predicate === undefined ? neverOff : compileOne(predicate, path);
}

function compileOne(predicate: ListenerFilterChainMatchPredicate, path: string): PortPredicate {
  const { orMatch, andMatch, notMatch, anyMatch, destinationPortRange: range } = predicate;
  if (range !== undefined) return (port) => port >= range.start && port < range.end;
  if (anyMatch === true) return () => true;
  if (notMatch !== undefined) {
    const inner = compileOne(notMatch, `${path}.not_match`);
    return (port) => !inner(port);
  }
  const name = orMatch === undefined ? "and_match" : "or_match";
  const set = orMatch ?? andMatch ?? refuse(path, "says nothing");
  const rules = set.rules.map((rule, i) => compileOne(rule, `${path}.${name}.rules[${i}]`));
  if (rules.length < 2) refuse(`${path}.${name}.rules`, "at least two are required");
  if (orMatch !== undefined) return (port) => rules.some((rule) => rule(port));
  return (port) => rules.every((rule) => rule(port));
}
