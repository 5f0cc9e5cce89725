import type { ListenerFilterChainMatchPredicate } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { refuse } from "../engine/refusal.ts";

/** Whether a listener filter is switched off for connections to a port. */
export type PortPredicate = (destinationPort: number) => boolean;

export function compilePredicate(
  predicate: ListenerFilterChainMatchPredicate | undefined,
): PortPredicate {
  if (predicate === undefined) return () => false;
  const { orMatch, andMatch, notMatch, anyMatch, destinationPortRange: range } = predicate;
  if (range !== undefined) return (port) => port >= range.start && port < range.end;
  if (anyMatch === true) return () => true;
  if (notMatch !== undefined) {
    const inner = compilePredicate(notMatch);
    return (port) => !inner(port);
  }
  const rules = (orMatch ?? andMatch)?.rules.map((rule) => compilePredicate(rule));
  if (rules === undefined) return refuse("listener_filters.filter_disabled", "is empty");
  if (orMatch !== undefined) return (port) => rules.some((rule) => rule(port));
  return (port) => rules.every((rule) => rule(port));
}
