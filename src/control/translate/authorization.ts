/**
 * AuthorizationPolicy as Envoy's RBAC filters: DENY before ALLOW, each policy's rules under the name
 * `ns[x]-policy[y]-rule[i]` that access logs show. On TCP an HTTP attribute cannot be known: an ALLOW
 * rule that needs one never matches, a DENY rule applies without it. Both fail closed.
 */
import { create } from "@bufbuild/protobuf";

import type { ResourceRef } from "../../base/problem.ts";
import type { AuthorizationPolicy, BrokenResource } from "../../model/config-resource.ts";
import type { AuthorizationRule } from "../../model/security.ts";
import type { RBAC } from "../../wire/gen/es/envoy/config/rbac/v3/rbac_pb.ts";
import {
  RBAC_Action as Action,
  RBACSchema,
} from "../../wire/gen/es/envoy/config/rbac/v3/rbac_pb.ts";
import { RBACSchema as HttpRbacSchema } from "../../wire/gen/es/envoy/extensions/filters/http/rbac/v3/rbac_pb.ts";
import { RBACSchema as NetworkRbacSchema } from "../../wire/gen/es/envoy/extensions/filters/network/rbac/v3/rbac_pb.ts";
import { authorizationPoliciesFor, denyingFor } from "../mesh/security.ts";
import type { PolicyInit, RuleContext } from "./authorization-rule.ts";
import { rulePolicy } from "./authorization-rule.ts";
import type { NamedConfig } from "./http-manager.ts";
import type { FilterInit } from "./listener.ts";
import { any, typedConfig } from "./proto.ts";
import type { ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";

export interface Authorization {
  readonly http: readonly NamedConfig[];
  readonly network: readonly FilterInit[];
  readonly origins: readonly ResourceRef[];
}

type PolicyContext = Omit<RuleContext, "action" | "namespace">;

interface RuleSet {
  readonly action: "ALLOW" | "DENY";
  readonly isDryRun: boolean;
  readonly rules: ReadonlyMap<string, PolicyInit>;
}

const dryRunAnnotation = "istio.io/dry-run";

/**
 * The filters for one inbound port. `port` is the application's where it is known beforehand (each
 * port has chains of its own), undefined for connections to ports nobody declared.
 */
export function authorizationFor(
  view: ProxyView,
  kind: "http" | "tcp",
  port: number | undefined,
): Authorization {
  const policies = authorizationPoliciesFor(view.model, view.proxy);
  const broken = denyingFor(view.model, view.proxy);
  const context: PolicyContext = {
    kind,
    port,
    trustDomain: view.model.settings.trustDomain,
    isRelayed: view.proxy.ports.some((one) => one.port === port && one.relay !== undefined),
  };
  const sets = [
    ...(broken.length === 0 ? [] : [denyAll(broken)]),
    ...ruleSets(policies, "DENY", context),
    ...ruleSets(policies, "ALLOW", context),
  ];
  return {
    http: kind === "http" ? sets.map(httpFilter) : [],
    network: kind === "tcp" ? sets.map(networkFilter) : [],
    origins: policies.map(refOf),
  };
}

/** While a security resource cannot be honoured, whatever it selects is closed. */
function denyAll(broken: readonly BrokenResource[]): RuleSet {
  const everything: PolicyInit = {
    permissions: [{ rule: { case: "any", value: true } }],
    principals: [{ identifier: { case: "any", value: true } }],
  };
  const rules = broken.map(({ namespace, name = "unreadable", kind }) => {
    return [`ns[${namespace}]-policy[${name}]-broken[${kind}]`, everything] as const;
  });
  return { action: "DENY", isDryRun: false, rules: new Map(rules) };
}

function ruleSets(
  policies: readonly AuthorizationPolicy[],
  action: "ALLOW" | "DENY",
  context: PolicyContext,
): RuleSet[] {
  const ofAction = policies.filter((policy) => (policy.spec.action ?? "ALLOW") === action);
  return [false, true].flatMap((isDryRun) => {
    const chosen = ofAction.filter(
      (policy) => (policy.annotations[dryRunAnnotation] === "true") === isDryRun,
    );
    if (chosen.length === 0) return [];
    const rules = chosen.flatMap((policy) => {
      const { namespace } = policy;
      return policyRules(policy, { ...context, action, namespace });
    });
    return [{ action, isDryRun, rules: new Map(rules) }];
  });
}

function policyRules(
  policy: AuthorizationPolicy,
  context: RuleContext,
): (readonly [string, PolicyInit])[] {
  const rules: readonly AuthorizationRule[] = policy.spec.rules ?? [];
  return rules.flatMap((rule, index) => {
    const name = `ns[${policy.namespace}]-policy[${policy.name}]-rule[${index}]`;
    const built = rulePolicy(rule, context);
    return built === undefined ? [] : [[name, built] as const];
  });
}

function rbacOf({ action, rules }: RuleSet): RBAC {
  return create(RBACSchema, {
    action: action === "ALLOW" ? Action.ALLOW : Action.DENY,
    policies: Object.fromEntries(rules),
  });
}

const shadowPrefix = { ALLOW: "istio_dry_run_allow_", DENY: "istio_dry_run_deny_" } as const;

function httpFilter(set: RuleSet): NamedConfig {
  const rbac = rbacOf(set);
  return {
    name: "envoy.filters.http.rbac",
    config: any(
      HttpRbacSchema,
      set.isDryRun
        ? { shadowRules: rbac, shadowRulesStatPrefix: shadowPrefix[set.action] }
        : { rules: rbac },
    ),
  };
}

function networkFilter(set: RuleSet): FilterInit {
  const rbac = rbacOf(set);
  const statPrefix = "tcp.";
  return {
    name: "envoy.filters.network.rbac",
    configType: typedConfig(
      NetworkRbacSchema,
      set.isDryRun
        ? { shadowRules: rbac, shadowRulesStatPrefix: shadowPrefix[set.action], statPrefix }
        : { rules: rbac, statPrefix },
    ),
  };
}
