/**
 * Envoy's RBAC as a tree of matchers, whose actions allow, deny, or allow and log. What no matcher
 * decides is denied.
 */
import { Action, RBAC_Action as Effect } from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import type { Matcher } from "../../wire/gen/ts/xds/type/matcher/v3/matcher.ts";
import { type CodeChoice, compileFirstMatch } from "./condition-code.ts";
import { connectionInputs, requestInputs } from "./match-inputs.ts";
import { type MatchCase, matchCases, typeOfAny } from "./match-tree.ts";
import { ConnectionAlone, type NetworkRbac, type Rbac, type RbacVerdict } from "./rbac.ts";
import { refuse } from "./refusal.ts";
import { pathOf } from "./request-path.ts";
import type { RequestView } from "./request.ts";

/** Throws a refusal. */
export function compileMatcherRbac(
  matcher: Matcher,
  path: string,
  choice: CodeChoice = {},
): Rbac & Logging {
  return compile(matchCases(matcher, path, requestInputs), choice);
}

export function compileNetworkMatcherRbac(
  matcher: Matcher,
  path: string,
  choice: CodeChoice = {},
): NetworkRbac & Logging {
  const rbac = compile(matchCases(matcher, path, connectionInputs), choice);
  return {
    evaluate: (connection) => rbac.evaluate(new ConnectionAlone(connection)),
    logs: rbac.logs,
  };
}

interface Logging {
  /** Some action says that what it decides shall be logged. */
  readonly logs: boolean;
}

const denied: RbacVerdict = { isAllowed: false, policy: undefined };
const noChance = (): number => 0;

function compile(cases: readonly MatchCase[], choice: CodeChoice): Rbac & Logging {
  const verdicts = cases.map(verdictOf);
  const firstMatch = compileFirstMatch(
    cases.map(({ condition }) => condition),
    choice,
  );
  return {
    evaluate: (request: RequestView) =>
      verdicts[firstMatch(request, pathOf(request.path), noChance)] ?? denied,
    logs: verdicts.some(({ isLogged }) => isLogged === true),
  };
}

function verdictOf({ action: any, path }: MatchCase): RbacVerdict {
  if (typeOfAny(any) !== "envoy.config.rbac.v3.Action") {
    return refuse(path, `'${typeOfAny(any)}' is not supported`);
  }
  const { name, action } = Action.decode(any.value);
  if (name === "") refuse(`${path}.name`, "is required");
  switch (action) {
    case Effect.ALLOW:
    case Effect.LOG:
      return { isAllowed: true, policy: name, isLogged: action === Effect.LOG };
    case Effect.DENY:
      return { isAllowed: false, policy: name, isLogged: false };
    case Effect.UNRECOGNIZED:
    default:
      return refuse(`${path}.action`, `${action} is not known`);
  }
}
