/** Which header fields of a request somebody else may change: Envoy's `HeaderMutationRules`. */
import type { HeaderMutationRules } from "../../wire/gen/ts/envoy/config/common/mutation_rules/v3/mutation_rules.ts";
import { compileRegex } from "./regex.ts";

export type MutationKind = "set" | "append" | "remove";

/** `passed-over`: it is not made, and nothing more. `refused`: nor is anything else. */
export type MutationCheck = (
  kind: MutationKind,
  name: string,
) => "allowed" | "passed-over" | "refused";

const routingFields: ReadonlySet<string> = new Set(["host", ":authority", ":method", ":scheme"]);
const ownPrefix = "x-envoy-";

export function compileMutationRules(rules: HeaderMutationRules, path: string): MutationCheck {
  const { allowExpression, disallowExpression, disallowIsError = false } = rules;
  const isListed =
    allowExpression === undefined
      ? undefined
      : compileRegex(allowExpression, `${path}.allow_expression.regex`);
  const isBanned =
    disallowExpression === undefined
      ? undefined
      : compileRegex(disallowExpression, `${path}.disallow_expression.regex`);
  const isAllowed = (kind: MutationKind, name: string): boolean => {
    const isPseudo = name.startsWith(":");
    if (kind === "remove" && (isPseudo || name === "host")) return false;
    if (isBanned?.matches(name) === true) return false;
    if (isListed?.matches(name) === true) return true;
    if (rules.disallowAll === true) return false;
    if (rules.allowAllRouting !== true && routingFields.has(name)) return false;
    // A request has one of each.
    if (isPseudo && (kind === "append" || rules.disallowSystem === true)) return false;
    return rules.allowEnvoy === true || !name.startsWith(ownPrefix);
  };
  const otherwise = disallowIsError ? "refused" : "passed-over";
  return (kind, name) => (isAllowed(kind, name) ? "allowed" : otherwise);
}
