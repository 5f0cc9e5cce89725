/** Findings about DestinationRules: hosts, subsets and tunnels that lead nowhere. */
import type { Problem } from "../../base/problem.ts";
import type { DestinationRule } from "../../model/config-resource.ts";
import { selects } from "../../model/matching.ts";
import type { MeshModel, ServiceShape } from "../mesh-model.ts";
import { hostHint, problemOf } from "./finding.ts";
import { hostnamesUnder, resolveHost } from "./lookup.ts";
import { carriedAs } from "./tcp-claims.ts";

export function checkDestinationRules(model: MeshModel): Problem[] {
  return model.resources.DestinationRule.flatMap((one) => checkDestinationRule(model, one));
}

function checkDestinationRule(model: MeshModel, rule: DestinationRule): Problem[] {
  const problems: Problem[] = [];
  const host = resolveHost(model, rule.spec.host, rule.namespace);
  const services = hostnamesUnder(model, host).flatMap((name) => model.services.get(name) ?? []);
  if (services.length === 0) {
    const hint = hostHint(model, rule.spec.host, rule.namespace);
    const message = `no service is called ${host}, so the rule does nothing`;
    const finding = { code: "destinationrule.host-not-found", path: "spec.host", message, hint };
    problems.push(problemOf(rule, finding));
    return problems;
  }
  problems.push(...checkTunnel(rule, services));
  for (const [index, subset] of (rule.spec.subsets ?? []).entries()) {
    const path = `spec.subsets[${index}]`;
    const isDeclared = services.some((one) => one.entry === undefined);
    const hasWorkload =
      !isDeclared ||
      services.some(({ instances, endpoints }) =>
        [...instances, ...endpoints].some(({ labels }) => selects(subset.labels, labels)),
      );
    if (hasWorkload) continue;
    const labels = Object.entries(subset.labels ?? {}).map(([key, value]) => `${key}: ${value}`);
    problems.push(
      problemOf(rule, {
        code: "destinationrule.empty-subset",
        severity: "warning",
        path,
        message: `no workload has the labels of subset ${subset.name} (${labels.join(", ")})`,
      }),
    );
  }
  return problems;
}

/** Requests are not tunnelled, as in Istio. */
function checkTunnel(rule: DestinationRule, services: readonly ServiceShape[]): Problem[] {
  const { trafficPolicy, subsets = [] } = rule.spec;
  const at = subsets.findIndex((one) => one.trafficPolicy?.tunnel !== undefined);
  if (trafficPolicy?.tunnel === undefined && at < 0) return [];
  const carried = services.flatMap(({ ports }) => ports.map(({ protocol }) => carriedAs(protocol)));
  if (carried.some((one) => one === "tcp" || one === "auto")) return [];
  return [
    problemOf(rule, {
      code: "config.no-effect",
      severity: "warning",
      path: at < 0 ? "spec.trafficPolicy.tunnel" : `spec.subsets[${at}].trafficPolicy.tunnel`,
      message: "no port of the host carries TCP or TLS, and requests are not tunnelled",
    }),
  ];
}
