/**
 * What is wrong between resources that are each right: names that lead nowhere, subsets that nobody
 * defines, routes that no request reaches, policies that select nothing.
 */
import type { Problem } from "../../base/problem.ts";
import type { DestinationRule } from "../../model/config-resource.ts";
import { selects } from "../../model/matching.ts";
import type { MeshModel, MeshService, ServiceShape } from "../mesh-model.ts";
import { hostHint, problemOf } from "./finding.ts";
import { hostnamesUnder, isVisible, resolveHost } from "./lookup.ts";
import { carriedAs, tcpClaims } from "./tcp-claims.ts";
import { checkSecurity } from "./check-security.ts";
import { checkUdp } from "./check-udp.ts";
import { checkConnectionRoutes } from "./check-connection-routes.ts";
import { checkGateways } from "./check-gateways.ts";
import { checkVirtualService, checkVirtualServiceHosts } from "./check-routes.ts";

/** Every cross-resource problem of a model, in order of resource. */
export function checkMesh(model: MeshModel): Problem[] {
  return [
    ...model.virtualServices.flatMap((one) => checkVirtualService(model, one)),
    ...checkVirtualServiceHosts(model),
    ...checkConnectionRoutes(model),
    ...model.destinationRules.flatMap((one) => checkDestinationRule(model, one)),
    ...checkGateways(model),
    ...checkTcpPlaces(model),
    ...checkUdp(model),
    ...checkSecurity(model),
    ...checkTracing(model),
  ];
}

/** Spans that nobody is there to take. */
function checkTracing(model: MeshModel): Problem[] {
  const { tracing } = model.settings;
  if (tracing === undefined) return [];
  const { service: host, port, source } = tracing;
  const service = model.services.get(host);
  if (service?.ports.some(({ number }) => number === port) === true) return [];
  const ports = service?.ports.map(({ number }) => number).join(", ");
  return [
    {
      code: "meshconfig.collector-not-found",
      severity: "error",
      path: "meshConfig.extensionProviders",
      message:
        service === undefined
          ? `no service is called ${host}, so no spans are sent`
          : `${host} has no port ${port}, so no spans are sent; it has ${ports}`,
      hint:
        service === undefined
          ? hostHint(model, host, model.settings.rootNamespace)
          : "name one of its ports",
      ...(source === undefined ? {} : { source }),
    },
  ];
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

/** Services of ServiceEntries that no captured caller reaches by TCP, because another has their place. */
function checkTcpPlaces(model: MeshModel): Problem[] {
  const found = new Map<string, Problem>();
  const callers = model.instances.filter(
    ({ role, capture }) => role === "workload" && capture === "transparent",
  );
  const namespaces = new Set(callers.map((caller) => caller.namespace));
  for (const visible of distinctViews([...model.services.values()], namespaces)) {
    for (const { service, port, loses } of tcpClaims(visible)) {
      const { entry, hostname } = service;
      if (loses === undefined || entry === undefined) continue;
      const index = (entry.spec.ports ?? []).findIndex(({ number }) => number === port.number);
      const other = `${loses.service.hostname} (${loses.port.name})`;
      const finding = {
        code: "serviceentry.indistinct",
        path: `spec.ports[${index}]`,
        message: `connections to port ${port.number} of ${hostname} cannot be told from those to ${other}, which gets them`,
        hint: "give it addresses of its own, or a resolution and a host without wildcard",
      };
      found.set(`${hostname}:${port.number}`, problemOf(entry, finding));
    }
  }
  return [...found.values()];
}

/** What callers in each namespace see, where it is the same once: most see what all do. */
function distinctViews(
  services: readonly MeshService[],
  namespaces: ReadonlySet<string>,
): readonly (readonly MeshService[])[] {
  const isForAll = ({ exportTo }: MeshService): boolean =>
    exportTo.length === 0 || exportTo.includes("*");
  const restricted = services.filter((one) => !isForAll(one));
  const named = restricted.flatMap(({ exportTo, namespace }) =>
    exportTo.map((name) => (name === "." ? namespace : name)),
  );
  const special = new Set(named.filter((name) => namespaces.has(name)));
  const views = [...special].map((viewer) =>
    services.filter((one) => isVisible(one.exportTo, one.namespace, viewer)),
  );
  return namespaces.size === special.size ? views : [...views, services.filter(isForAll)];
}
