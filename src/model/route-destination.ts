/** Where a route sends what it takes, by weight: the same for requests and for connections. */
import { hostname, integer, portNumber, text } from "./scalar-types.ts";
import type { Place, Type } from "./schema.ts";
import { object } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";
import { yamlField } from "./yaml.ts";

export interface Destination {
  readonly host: string;
  readonly subset?: string;
  readonly port?: { readonly number?: number };
}

export interface WeightedDestination {
  readonly destination: Destination;
  readonly weight?: number;
}

export const destination: Type<Destination> = object<Destination>(
  {
    host: hostname({ allowsWildcard: false }),
    subset: text,
    port: object<{ readonly number?: number }>({ number: portNumber }),
  },
  { required: ["host"] },
);

export const weight: Type<number> = integer({ min: 0 });

export const weightedDestination: Type<WeightedDestination> = object<WeightedDestination>(
  { destination, weight },
  { required: ["destination"] },
);

/** Weights are shares: Istio asks for no particular total, but all zero sends nothing anywhere. */
export function checkWeights(
  destinations: readonly WeightedDestination[],
  node: YamlNode,
  place: Place,
): void {
  const at = place.field("route");
  const written = yamlField(node, "route");
  const items = written?.kind === "sequence" ? written.items : [];
  const weights = items.filter((item) => yamlField(item, "weight") !== undefined);
  // What was refused one by one has no total.
  if (weights.length > destinations.filter(({ weight }) => weight !== undefined).length) return;
  if (destinations.length === 0) {
    if (items.length > 0) return;
    at.complain(node.position, { code: "config.too-few", message: "a destination is needed" });
    return;
  }
  if (destinations.length === 1) return;
  const total = destinations.reduce((sum, { weight }) => sum + (weight ?? 0), 0);
  const position = place.findings.positions.get(at.path) ?? node.position;
  if (total === 0) {
    const message = "weights add up to 0, so no destination gets anything";
    at.complain(position, { code: "virtualservice.weights", message });
  } else if (total !== 100) {
    at.complain(position, {
      code: "virtualservice.weights",
      severity: "warning",
      message: `weights add up to ${total}, not 100; they are taken as shares of ${total}`,
      hint: "let the weights of a route add up to 100",
    });
  }
}
