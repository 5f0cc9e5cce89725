/** Findings about `tls` and `tcp` routes: matches that an earlier one leaves nothing, and ports without TLS. */
import type { Problem } from "../../base/problem.ts";
import type { VirtualService } from "../../model/config-resource.ts";
import type { ConnectionMatch, TcpMatch, TlsRoute } from "../../model/connection-routes.ts";
import { carriedBy } from "../../model/gateway.ts";
import type { MeshModel } from "../mesh-model.ts";
import { canonicalRange } from "./address-range.ts";
import { problemOf } from "./finding.ts";
import { gatewayName, gatewaysByName, hostnamesUnder, resolveHost } from "./lookup.ts";

export function checkConnectionRoutes(model: MeshModel): Problem[] {
  const names = new Map<string, string>();
  return model.resources.VirtualService.flatMap((one) => [
    ...checkServerNames(model, one, names),
    ...checkTcpRoutes(one),
    ...checkPorts(model, one),
    ...checkDoors(model, one),
  ]);
}

/** Matches of all VirtualServices, for routes by name are merged: the first that asks for a name gets it. */
function checkServerNames(
  model: MeshModel,
  one: VirtualService,
  owners: Map<string, string>,
): Problem[] {
  // VirtualServices for other hosts are asked on other addresses.
  const hosts = one.spec.hosts.map((host) => resolveHost(model, host, one.namespace));
  return matchesOf(one.spec.tls ?? []).flatMap(({ match, path }) => {
    const own = `${path} of ${one.namespace}/${one.name}`;
    const earlier = match.sniHosts.map((name) => {
      const keys = hosts.map((host) => `${host} ${placeOf(one, match)} ${name.toLowerCase()}`);
      const found = keys.map((key) => owners.get(key) ?? own);
      for (const key of keys) if (!owners.has(key)) owners.set(key, own);
      // Where one host is left to it, it gets something.
      return found.includes(own) ? undefined : found[0];
    });
    return match.sniHosts.flatMap((name, index) => {
      const owner = earlier[index];
      if (owner === undefined) return [];
      return problemOf(one, {
        code: "virtualservice.unreachable-route",
        severity: "warning",
        path: `spec.tls${path}.sniHosts[${index}]`,
        message: `no connection for ${name} comes here, because spec.tls${owner} takes them all`,
        hint: "take the name out of one of them",
      });
    });
  });
}

function checkTcpRoutes(one: VirtualService): Problem[] {
  const routes = (one.spec.tcp ?? []).map(({ match = [] }): readonly TcpMatch[] =>
    match.length === 0 ? [{}] : match,
  );
  return routes.flatMap((matches, index) => {
    const earlier = routes.slice(0, index);
    const takers = matches.map((match) =>
      earlier.findIndex((others) => others.some((other) => takesAllOf(other, match))),
    );
    const [taker = -1] = takers;
    if (takers.includes(-1)) return [];
    return problemOf(one, {
      code: "virtualservice.unreachable-route",
      severity: "warning",
      path: `spec.tcp[${index}]`,
      message: `no connection reaches this route, because spec.tcp[${taker}] takes them all`,
      hint: "put routes with a match first",
    });
  });
}

/** Whether `other` leaves nothing of what `match` asks for. */
function takesAllOf(other: TcpMatch, match: TcpMatch): boolean {
  const { destinationSubnets = [], sourceSubnet, ...rest } = other;
  if (destinationSubnets.length > 0 || sourceSubnet !== undefined) return false;
  const asked = new Map<string, unknown>(Object.entries(match));
  return Object.entries(rest).every(
    ([field, value]) => JSON.stringify(asked.get(field)) === JSON.stringify(value),
  );
}

interface Placed<Match> {
  readonly match: Match;
  /** Behind `spec.tls`. */
  readonly path: string;
}

function matchesOf(routes: readonly TlsRoute[]): Placed<TlsRoute["match"][number]>[] {
  return routes.flatMap(({ match }, index) =>
    match.map((each, at) => ({ match: each, path: `[${index}].match[${at}]` })),
  );
}

/** Everything but the name: where both are the same, the later match gets nothing. */
function placeOf(one: VirtualService, match: ConnectionMatch): string {
  const { destinationSubnets = [], port, sourceLabels = {}, sourceNamespace } = match;
  const named = (list: readonly string[]): string[] =>
    list.map((name) => (name === "mesh" ? name : gatewayName(name, one.namespace))).toSorted();
  const gateways = match.gateways ?? one.spec.gateways ?? ["mesh"];
  return JSON.stringify([
    destinationSubnets.map(canonicalRange).toSorted(),
    port,
    Object.entries(sourceLabels)
      .map(([name, value]) => `${name}=${value}`)
      .toSorted(),
    sourceNamespace,
    named(gateways),
  ]);
}

/** Names are read on ports that say they carry TLS, and on no others. */
function checkPorts(model: MeshModel, one: VirtualService): Problem[] {
  const isForMesh = (one.spec.gateways ?? ["mesh"]).includes("mesh");
  if (!isForMesh || one.spec.tls === undefined) return [];
  const hosts = one.spec.hosts.map((host) => resolveHost(model, host, one.namespace));
  const names = new Set(hosts.flatMap((host) => hostnamesUnder(model, host)));
  const services = [...names].toSorted(inOrder).flatMap((name) => model.services.get(name) ?? []);
  const ports = services.flatMap((service) => service.ports);
  const isRead = ports.some(({ protocol }) => protocol === "tls" || protocol === "https");
  if (services.length === 0 || isRead) return [];
  const [first] = services;
  return [
    problemOf(one, {
      code: "virtualservice.no-tls-port",
      severity: "warning",
      path: "spec.tls",
      message: `no port of ${first?.hostname ?? ""} says that it carries TLS, so these routes take nothing`,
      hint: "declare the port with protocol TLS or HTTPS",
    }),
  ];
}

const doors = {
  http: { needs: "takes requests", hint: "add a server with protocol HTTP" },
  tls: { needs: "passes TLS on", hint: "add one with protocol TLS and tls: { mode: PASSTHROUGH }" },
  tcp: { needs: "carries bytes", hint: "add a server with protocol TCP" },
} as const;

/** Routes of one sort, bound to gateways alone whose servers are all of others. */
function checkDoors(model: MeshModel, one: VirtualService): Problem[] {
  const names = (one.spec.gateways ?? ["mesh"]).map((name) =>
    name === "mesh" ? name : gatewayName(name, one.namespace),
  );
  if (names.includes("mesh")) return [];
  const known = gatewaysByName(model);
  const bound = names.flatMap((name) => known.get(name) ?? []);
  const open = new Set(bound.flatMap((each) => each.spec.servers.map(carriedBy)));
  if (open.size === 0) return [];
  return (["http", "tls", "tcp"] as const).flatMap((kind) => {
    if ((one.spec[kind] ?? []).length === 0 || open.has(kind)) return [];
    return problemOf(one, {
      code: "virtualservice.no-server",
      severity: "warning",
      path: `spec.${kind}`,
      message: `no server of ${names.join(", ")} ${doors[kind].needs}, so these routes take nothing`,
      hint: doors[kind].hint,
    });
  });
}

function inOrder(left: string, right: string): number {
  return left < right ? -1 : 1;
}
