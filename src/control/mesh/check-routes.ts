/** Findings about VirtualServices: destinations, subsets, gateways, hosts and unreachable routes. */
import type { Problem } from "../../base/problem.ts";
import type { Gateway, VirtualService } from "../../model/config-resource.ts";
import { hostMatches } from "../../model/matching.ts";
import type { Destination } from "../../model/route-destination.ts";
import type { HttpMatch, HttpRoute } from "../../model/virtual-service.ts";
import type { MeshModel, MeshService } from "../mesh-model.ts";
import { hostHint, problemOf } from "./finding.ts";
import { HostTable, patternsOver } from "./host-table.ts";
import { indexed } from "./index.ts";
import { InstanceTable } from "./instances.ts";
import {
  gatewayName,
  gatewaysByName,
  hostnamesUnder,
  isForMesh,
  isSeenBy,
  resolveHost,
} from "./lookup.ts";
import { offeredName } from "./open-servers.ts";

export function checkVirtualServices(model: MeshModel): Problem[] {
  return model.resources.VirtualService.flatMap((one) => checkVirtualService(model, one));
}

function checkVirtualService(model: MeshModel, one: VirtualService): Problem[] {
  return [
    ...destinationsOf(one).flatMap(([path, value]) => checkDestination(model, one, path, value)),
    ...checkGatewayNames(model, one),
    ...checkReachability(one),
    ...checkFaults(one),
    ...checkOwnHosts(model, one),
  ];
}

function destinationsOf(one: VirtualService): [path: string, destination: Destination][] {
  const found: [string, Destination][] = [];
  for (const [index, route] of (one.spec.http ?? []).entries()) {
    const path = `spec.http[${index}]`;
    for (const [at, { destination }] of (route.route ?? []).entries()) {
      found.push([`${path}.route[${at}].destination`, destination]);
    }
    if (route.mirror !== undefined) found.push([`${path}.mirror`, route.mirror]);
    for (const [at, { destination }] of (route.mirrors ?? []).entries()) {
      found.push([`${path}.mirrors[${at}].destination`, destination]);
    }
  }
  for (const kind of ["tls", "tcp"] as const) {
    for (const [index, route] of (one.spec[kind] ?? []).entries()) {
      for (const [at, { destination }] of route.route.entries()) {
        found.push([`spec.${kind}[${index}].route[${at}].destination`, destination]);
      }
    }
  }
  return found;
}

function checkDestination(
  model: MeshModel,
  one: VirtualService,
  path: string,
  destination: Destination,
): Problem[] {
  const host = resolveHost(model, destination.host, one.namespace);
  const service = model.services.get(host);
  if (service === undefined) {
    return [
      problemOf(one, {
        code: "virtualservice.host-not-found",
        path: `${path}.host`,
        message: `no service is called ${host}; requests sent there get 503`,
        hint: hostHint(model, destination.host, one.namespace),
      }),
    ];
  }
  const problems: Problem[] = [];
  const number = destination.port?.number;
  const ports = service.ports.map((port) => port.number);
  if (number !== undefined && !ports.includes(number)) {
    problems.push(
      problemOf(one, {
        code: "virtualservice.port-not-found",
        path: `${path}.port.number`,
        message: `${host} has no port ${number}; requests sent there get 503`,
        hint: `its ports are ${ports.join(", ")}`,
      }),
    );
  }
  const { subset } = destination;
  if (subset !== undefined && !definesSubset(model, service, subset)) {
    problems.push(
      problemOf(one, {
        code: "virtualservice.subset-not-found",
        path: `${path}.subset`,
        message: `no DestinationRule defines subset ${subset} of ${host}; requests sent there get 503`,
        hint: "define it under subsets of a DestinationRule for the host",
      }),
    );
  }
  return problems;
}

/** Names of subsets by the hosts of their rules, in whatever namespace. */
const subsetNames = indexed((model: MeshModel): HostTable<string> => {
  const names = new HostTable<string>();
  for (const { namespace, spec } of model.resources.DestinationRule) {
    const host = resolveHost(model, spec.host, namespace);
    for (const { name } of spec.subsets ?? []) names.add(host, name);
  }
  return names;
});

function definesSubset(model: MeshModel, service: MeshService, subset: string): boolean {
  for (const { items } of subsetNames(model).covering(service.hostname)) {
    if (items.includes(subset)) return true;
  }
  return false;
}

function checkGatewayNames(model: MeshModel, one: VirtualService): Problem[] {
  const known = gatewaysByName(model);
  return (one.spec.gateways ?? []).flatMap((written, index) => {
    if (written === "mesh") return [];
    const path = `spec.gateways[${index}]`;
    const name = gatewayName(written, one.namespace);
    const gateway = known.get(name);
    if (gateway === undefined) {
      const message = `there is no Gateway ${name}`;
      return problemOf(one, { code: "virtualservice.gateway-not-found", path, message });
    }
    const unseen = checkSeenAt(model, one, gateway);
    if (unseen.length > 0) return unseen;
    if (one.spec.hosts.some((host) => isOffered(model, gateway, host))) return [];
    const message = `Gateway ${name} offers none of the hosts ${one.spec.hosts.join(", ")}`;
    return problemOf(one, {
      code: "virtualservice.host-not-offered",
      path: "spec.hosts",
      severity: "warning",
      message,
    });
  });
}

const offers = indexed((model: MeshModel): ReadonlyMap<Gateway, HostTable<string>> => {
  const byGateway = new Map<Gateway, HostTable<string>>();
  for (const gateway of model.resources.Gateway) {
    const table = new HostTable<string>();
    byGateway.set(gateway, table);
    for (const host of gateway.spec.servers.flatMap(({ hosts }) => hosts.map(offeredName))) {
      table.add(host, host);
      // For wildcards that cover it.
      for (const pattern of patternsOver(host)) table.add(`under ${pattern}`, host);
    }
  }
  return byGateway;
});

/** Whether a server offers the host, or something that it covers. */
function isOffered(model: MeshModel, gateway: Gateway, host: string): boolean {
  const table = offers(model).get(gateway);
  if (table === undefined) return false;
  return table.closest(host).length > 0 || table.at(`under ${host}`).length > 0;
}

/** A gateway's routes are of VirtualServices that its own namespace sees, not that of its Gateway. */
function checkSeenAt(model: MeshModel, one: VirtualService, gateway: Gateway): Problem[] {
  const running = runningIn(model).get(gateway) ?? [];
  if (running.length === 0 || running.some((namespace) => isSeenBy(one, namespace))) return [];
  const namespaces = running.join(", ");
  return [
    problemOf(one, {
      code: "config.no-effect",
      severity: "warning",
      path: "spec.exportTo",
      message: `Gateway ${gateway.namespace}/${gateway.name} is carried out in namespace ${namespaces}, to which this is not exported`,
      hint: "name that namespace in exportTo",
    }),
  ];
}

/** The namespaces of those that carry out each Gateway. */
const runningIn = indexed((model: MeshModel): ReadonlyMap<Gateway, readonly string[]> => {
  const gateways = new InstanceTable(model.instances.filter(({ role }) => role === "gateway"));
  return new Map(
    model.resources.Gateway.map((gateway) => {
      const running = gateways.selected(undefined, gateway.spec.selector);
      return [gateway, [...new Set(running.map(({ namespace }) => namespace))]];
    }),
  );
});

/** A route after one that takes every request is never reached. */
function checkReachability(one: VirtualService): Problem[] {
  const routes = one.spec.http ?? [];
  const taker = routes.findIndex(takesEverything);
  if (taker < 0) return [];
  return routes.slice(taker + 1).map((_, offset) =>
    problemOf(one, {
      code: "virtualservice.unreachable-route",
      severity: "warning",
      path: `spec.http[${taker + 1 + offset}]`,
      message: `no request reaches this route, because spec.http[${taker}] takes them all`,
      hint: "put routes with a match first",
    }),
  );
}

/** As in Istio, a fault without a percentage hits no request: who wrote it meant another thing. */
function checkFaults(one: VirtualService): Problem[] {
  return (one.spec.http ?? []).flatMap(({ fault }, index) =>
    (["delay", "abort"] as const)
      .filter((kind) => fault?.[kind] !== undefined && fault[kind].percentage === undefined)
      .map((kind) =>
        problemOf(one, {
          code: "config.no-effect",
          severity: "warning",
          path: `spec.http[${index}].fault.${kind}`,
          message: "without a percentage the fault is injected into no request",
          hint: "write percentage: {value: 100} for all of them",
        }),
      ),
  );
}

function takesEverything(route: HttpRoute): boolean {
  return (route.match ?? []).length === 0 || (route.match ?? []).some(isUnconditional);
}

function isUnconditional(match: HttpMatch): boolean {
  const { name: _, uri, ignoreUriCase: __, ...rest } = match;
  const isAnyPath =
    uri === undefined ||
    (uri.kind === "prefix" && uri.value === "/") ||
    (uri.kind === "regex" && uri.value === ".*");
  return isAnyPath && Object.keys(rest).length === 0;
}

function checkOwnHosts(model: MeshModel, one: VirtualService): Problem[] {
  if (!isForMesh(one)) return [];
  return one.spec.hosts.flatMap((written, index) => {
    const host = resolveHost(model, written, one.namespace);
    const isKnown = hostnamesUnder(model, host).length > 0;
    // Other names are served for requests, which tell them; a connection tells its address alone.
    const isForRequests = one.spec.http !== undefined;
    const isLocal = host.endsWith(`.svc.${model.domain}`);
    if (isKnown || (isForRequests && !isLocal) || isRoutedName(one, host)) return [];
    return problemOf(one, {
      code: "virtualservice.unknown-host",
      severity: "warning",
      path: `spec.hosts[${index}]`,
      message: `no service is called ${host}, so callers inside the mesh do not reach it by name`,
      hint: hostHint(model, written, one.namespace),
    });
  });
}

/** A name that clients of another host's address ask for by TLS. */
function isRoutedName(one: VirtualService, host: string): boolean {
  const names = (one.spec.tls ?? []).flatMap(({ match }) => match.flatMap((each) => each.sniHosts));
  return names.some((name) => hostMatches(host, name.toLowerCase())) && one.spec.hosts.length > 1;
}

/**
 * For callers in the mesh one VirtualService holds per host; at gateways they are merged, and so are
 * routes by the name in TLS. What is for some namespaces alone goes before what is for all, and takes
 * nothing from it elsewhere.
 */
export function checkVirtualServiceHosts(model: MeshModel): Problem[] {
  const owners = new Map<string, VirtualService>();
  const problems: Problem[] = [];
  for (const one of model.resources.VirtualService) {
    if (!isForMesh(one)) continue;
    for (const [index, written] of one.spec.hosts.entries()) {
      const host = resolveHost(model, written, one.namespace);
      const earlier = ownersOf(one, host, owners);
      const [first] = earlier;
      if (first === undefined || earlier.includes(undefined)) continue;
      const winner = `${first.namespace}/${first.name}`;
      problems.push(
        problemOf(one, {
          code: "virtualservice.duplicate-host",
          path: `spec.hosts[${index}]`,
          message: `${host} is routed by VirtualService ${winner} already; only one of them acts`,
          hint: "merge the two",
        }),
      );
    }
  }
  return problems;
}

/** For each sort of callers, who has what `one` asks for of a host; what nobody has becomes its own. */
function ownersOf(
  one: VirtualService,
  host: string,
  owners: Map<string, VirtualService>,
): readonly (VirtualService | undefined)[] {
  return viewersOf(one).map((viewers) => ownerOf(one, `${host} ${viewers}`, owners));
}

/** Who sees it, where those of its own namespace are told from those it is exported to by name. */
function viewersOf({ namespace, spec }: VirtualService): readonly string[] {
  const { exportTo = [] } = spec;
  if (exportTo.length === 0 || exportTo.includes("*")) return ["all"];
  if (exportTo.includes("~")) return [];
  const names = new Set(exportTo.map((name) => (name === "." ? namespace : name)));
  return [...names].map((name) => (name === namespace ? `own ${name}` : `named ${name}`));
}

/** Who has what `one` asks for, requests or bytes; what nobody has becomes its own. */
function ownerOf(
  one: VirtualService,
  place: string,
  owners: Map<string, VirtualService>,
): VirtualService | undefined {
  const { http, tcp } = one.spec;
  // Who has no route of requests for a caller leaves them to the next.
  const takesRequests = (http ?? []).some(
    ({ match = [] }) => match.length === 0 || match.some(isForAllCallers),
  );
  // Routes of bytes with a match leave what they do not match to others.
  const takesBytes = (tcp ?? []).some(({ match = [] }) => match.length === 0);
  const others = (["http", "tcp"] as const).map((kind) => {
    if (one.spec[kind] === undefined) return undefined;
    const owner = owners.get(`${kind} ${place}`);
    if (owner === undefined && (kind === "http" ? takesRequests : takesBytes)) {
      owners.set(`${kind} ${place}`, one);
    }
    return owner === one ? undefined : owner;
  });
  return others.find((owner) => owner !== undefined);
}

function isForAllCallers({ port, gateways, sourceLabels, sourceNamespace }: HttpMatch): boolean {
  return [port, gateways, sourceLabels, sourceNamespace].every((one) => one === undefined);
}
