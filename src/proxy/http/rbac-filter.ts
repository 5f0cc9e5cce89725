/** Authorization policies on requests: Envoy's `rbac` filter, decided by the engine. */
import { honouredHttpRbac } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import type { Counter, Labels, MetricRegistry } from "../../telemetry/metrics.ts";
import {
  RBAC,
  RBACPerRoute,
} from "../../wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { compileMatcherRbac } from "../engine/rbac-matcher.ts";
import { compileRbac, deniedDetails, type Rbac, type RbacVerdict } from "../engine/rbac.ts";
import {
  accessLogHint,
  logHintNamespace,
  matcherLogHint,
  shadowTelling,
} from "../engine/rbac-telling.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";

interface Rules {
  readonly enforced: Rbac | undefined;
  readonly rehearsed: Rbac | undefined;
  /** What a rehearsal found out, for filters behind and for logs. */
  readonly tell: ReturnType<typeof shadowTelling>;
  readonly hint: ReturnType<typeof accessLogHint>;
  readonly countsPolicies: boolean;
}

/** What metadata is filed under, whatever the filter is called. */
const namespace = "envoy.filters.http.rbac";

/** Undefined rules on a route switch the filter off there. */
export class RbacOverride {
  readonly rules: Rules | undefined;

  constructor(rules: Rules | undefined) {
    this.rules = rules;
  }
}

export function compileRbacOverride(bytes: Uint8Array, path: string): RbacOverride {
  const { rbac } = RBACPerRoute.decode(bytes);
  return new RbacOverride(rbac === undefined ? undefined : compileRules(rbac, `${path}.rbac`));
}

function compileRules(config: RBAC, path: string): Rules {
  honoured(config, honouredHttpRbac, path);
  const rules = compileRbac(config.rules, `${path}.rules`);
  const shadowRules = compileRbac(config.shadowRules, `${path}.shadow_rules`);
  // Rules beside a matcher mean nothing, as in Envoy.
  const matcher = config.matcher && compileMatcherRbac(config.matcher, `${path}.matcher`);
  const shadowMatcher =
    config.shadowMatcher && compileMatcherRbac(config.shadowMatcher, `${path}.shadow_matcher`);
  const matcherHint = matcher?.logs === true ? matcherLogHint : undefined;
  return {
    enforced: matcher ?? rules,
    rehearsed: shadowMatcher ?? shadowRules,
    tell: shadowTelling(config.shadowRulesStatPrefix),
    hint: matcher === undefined ? accessLogHint(config.rules) : matcherHint,
    countsPolicies: config.trackPerRuleStats,
  };
}

export interface RbacFilterPlace {
  readonly name: string;
  readonly path: string;
  readonly metrics: MetricRegistry;
  readonly statPrefix: string;
}

/** As Envoy tells them apart; it ends a prefix with a dot where it has none. */
function labelsOf({ statPrefix }: RbacFilterPlace, prefix: string): Labels {
  const labels = { http_conn_manager_prefix: statPrefix };
  return prefix === "" ? labels : { ...labels, rbac_http_prefix: prefix.replace(/\.$/, "") };
}

export function createRbacFilter(bytes: Uint8Array, place: RbacFilterPlace): HttpFilter {
  const config = RBAC.decode(bytes);
  const own = compileRules(config, place.path);
  const countPolicy = policyCounting(config, place);
  const counter = (prefix: string, suffix: string): { add(): void } =>
    place.metrics.counter(
      `envoy_http_rbac_${suffix}`,
      "Requests by the decision of authorization policies",
      labelsOf(place, prefix),
    );
  const allowed = counter(config.rulesStatPrefix, "allowed");
  const denied = counter(config.rulesStatPrefix, "denied");
  const shadowAllowed = counter(config.shadowRulesStatPrefix, "shadow_allowed");
  const shadowDenied = counter(config.shadowRulesStatPrefix, "shadow_denied");
  return {
    name: place.name,
    onRequest(stream: FilterStream): FilterVerdict {
      const override = stream.override(place.name);
      const rules = override instanceof RbacOverride ? override.rules : own;
      if (rules === undefined) return "continue";
      const rehearsal = rules.rehearsed?.evaluate(stream.request);
      if (rehearsal !== undefined) {
        (rehearsal.isAllowed ? shadowAllowed : shadowDenied).add();
        if (rules.countsPolicies) countPolicy(rehearsal, true);
        stream.request.addMetadata(namespace, rules.tell(rehearsal));
      }
      const verdict = rules.enforced?.evaluate(stream.request);
      if (verdict === undefined) return "continue";
      const { hint } = rules;
      if (rules.countsPolicies) countPolicy(verdict, false);
      const hinted = hint?.fieldsOf(verdict);
      if (hinted !== undefined) stream.request.addMetadata(logHintNamespace, hinted);
      if (verdict.isAllowed) {
        allowed.add();
        return "continue";
      }
      denied.add();
      stream.reply("access-denied", { details: deniedDetails(verdict) });
      return "answered";
    },
  };
}

/** By policies of the configuration, so there are no more series than these. */
function policyCounting(
  { rulesStatPrefix, shadowRulesStatPrefix }: RBAC,
  place: RbacFilterPlace,
): (verdict: RbacVerdict, isRehearsed: boolean) => void {
  const counters = new Map<string, Counter>();
  return ({ policy, isAllowed }, isRehearsed) => {
    if (policy === undefined) return;
    const effect = isAllowed ? "allowed" : "denied";
    const suffix = isRehearsed ? `shadow_${effect}` : effect;
    const key = `${suffix} ${policy}`;
    let counter = counters.get(key);
    if (counter === undefined) {
      const prefix = isRehearsed ? shadowRulesStatPrefix : rulesStatPrefix;
      counter = place.metrics.counter(
        `envoy_http_rbac_policy_${suffix}`,
        "Requests by the policy that decided",
        { ...labelsOf(place, prefix), rbac_policy_name: policy },
      );
      counters.set(key, counter);
    }
    counter.add();
  };
}
