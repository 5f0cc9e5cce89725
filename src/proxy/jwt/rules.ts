/** Which requests need which tokens: rules in order, the first that matches decides. */
import type { JwtAuthentication } from "../../wire/gen/ts/envoy/extensions/filters/http/jwt_authn/v3/config.ts";
import { allOf, type Condition } from "../engine/condition.ts";
import { compileFirstMatch } from "../engine/condition-code.ts";
import { stateText } from "../engine/filter-state.ts";
import { refuse } from "../engine/refusal.ts";
import { pathOf } from "../engine/request-path.ts";
import type { RequestView } from "../engine/request.ts";
import { type PathCondition, planRouteMatch } from "../engine/route-match.ts";
import { compileRequirement, type Providers, type Requirement } from "./requirement.ts";

export interface JwtRules {
  /** Undefined where nothing is required. */
  find(request: RequestView): Requirement | undefined;
  /** Those that routes may ask for. */
  readonly byName: ReadonlyMap<string, Requirement>;
}

const noChance = (): number => 0;

export function compileRules(
  config: JwtAuthentication,
  providers: Providers,
  path: string,
): JwtRules {
  const byName = new Map(
    Object.entries(config.requirementMap)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, one]) => [
        name,
        compileRequirement(one, providers, `${path}.requirement_map[${name}]`),
      ]),
  );
  const conditions = config.rules.map(({ match }, i) => {
    const place = `${path}.rules[${i}].match`;
    if (match === undefined) return refuse(place, "is required");
    const planned = planRouteMatch(match, place);
    return allOf([ofAnyMethod(planned.path), planned.rest]);
  });
  const requirements = config.rules.map(({ requires, requirementName }, i) => {
    const place = `${path}.rules[${i}]`;
    if (requirementName !== undefined) {
      const named = byName.get(requirementName);
      return named ?? refuse(`${place}.requirement_name`, `there is no '${requirementName}'`);
    }
    if (requires === undefined) return undefined;
    return compileRequirement(requires, providers, `${place}.requires`);
  });
  const firstMatch = compileFirstMatch(conditions);
  const ofState = compileStateRules(config, providers, `${path}.filter_state_rules`);
  return {
    byName,
    find(request) {
      const at = firstMatch(request, pathOf(request.path), noChance);
      return at < 0 ? ofState(request) : requirements[at];
    },
  };
}

/** As Envoy: for a prefix, or a path as a whole, a CONNECT has the empty path; what asks by a pattern does not find it. */
function ofAnyMethod(place: PathCondition): Condition {
  if (place.kind === "connect") return place;
  const { kind } = place.test;
  return kind === "prefix" || kind === "exact" ? { ...place, source: { kind: "path" } } : place;
}

/** What filters before have set decides where no rule matches. */
function compileStateRules(
  { filterStateRules }: JwtAuthentication,
  providers: Providers,
  path: string,
): JwtRules["find"] {
  if (filterStateRules === undefined) return () => undefined;
  const { name, requires } = filterStateRules;
  if (name === "") refuse(`${path}.name`, "is required");
  const byText = new Map(
    Object.entries(requires).map(([text, one]) => [
      text,
      compileRequirement(one, providers, `${path}.requires[${text}]`),
    ]),
  );
  return (request) => {
    const text = stateText(request, name);
    return text === undefined ? undefined : byText.get(text);
  };
}
