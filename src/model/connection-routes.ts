/**
 * Routes of a VirtualService for connections that are not routed by request: `tls` by the name that the
 * client asks for (the server's certificate is the destination's own), `tcp` by addresses and ports.
 */
import type { LabelSelector } from "./matching.ts";
import { hostMatches, labels } from "./matching.ts";
import type { WeightedDestination } from "./route-destination.ts";
import { checkWeights, weightedDestination } from "./route-destination.ts";
import { cidr, hostname, nonEmptyText, portNumber, text } from "./scalar-types.ts";
import type { Place, Type } from "./schema.ts";
import { list, object } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";

export interface TlsRoute {
  /** Any of them. */
  readonly match: readonly TlsMatch[];
  readonly route: readonly WeightedDestination[];
}

export interface TcpRoute {
  /** Any of them; none means every connection. */
  readonly match?: readonly TcpMatch[];
  readonly route: readonly WeightedDestination[];
}

export interface ConnectionMatch {
  /** Where the connection goes; empty is anywhere. */
  readonly destinationSubnets?: readonly string[];
  readonly port?: number;
  readonly sourceLabels?: LabelSelector;
  readonly gateways?: readonly string[];
  readonly sourceNamespace?: string;
}

export interface TlsMatch extends ConnectionMatch {
  /** Names, `*.name`, `*`. */
  readonly sniHosts: readonly string[];
}

export interface TcpMatch extends ConnectionMatch {
  /** Where the connection comes from. */
  readonly sourceSubnet?: string;
}

const connectionFields = {
  destinationSubnets: list(cidr),
  port: portNumber,
  sourceLabels: labels,
  gateways: list(nonEmptyText),
  sourceNamespace: text,
};

const tlsMatch: Type<TlsMatch> = object<TlsMatch>(
  { ...connectionFields, sniHosts: list(hostname({ allowsAddress: true }), { min: 1 }) },
  { required: ["sniHosts"] },
);

const tcpMatch: Type<TcpMatch> = object<TcpMatch>({ ...connectionFields, sourceSubnet: cidr });

const destinations = list(weightedDestination);

function checkRoute(
  route: { readonly route?: readonly WeightedDestination[] },
  node: YamlNode,
  place: Place,
): void {
  if (route.route !== undefined) checkWeights(route.route, node, place);
}

export const tlsRoute: Type<TlsRoute> = object<TlsRoute>(
  { match: list(tlsMatch, { min: 1 }), route: destinations },
  { required: ["match", "route"], check: checkRoute },
);

export const tcpRoute: Type<TcpRoute> = object<TcpRoute>(
  { match: list(tcpMatch), route: destinations },
  { required: ["route"], check: checkRoute },
);

interface NamedRoutes {
  readonly hosts?: readonly string[];
  readonly tls?: readonly TlsRoute[];
}

/** A name that clients ask for must be one of the VirtualService's hosts, or lie below one. */
export function checkServerNames(spec: NamedRoutes, node: YamlNode, place: Place): void {
  const hosts = (spec.hosts ?? []).map((host) => host.toLowerCase());
  for (const [index, { match }] of (spec.tls ?? []).entries()) {
    const route = place.field("tls").item(index);
    for (const [at, { sniHosts }] of (match ?? []).entries()) {
      for (const [position, name] of (sniHosts ?? []).entries()) {
        if (hosts.some((host) => hostMatches(host, name.toLowerCase()))) continue;
        const where = route.field("match").item(at).field("sniHosts").item(position);
        where.complain(place.findings.positions.get(where.path) ?? node.position, {
          code: "virtualservice.sni-host",
          message: `${name} is none of the hosts ${hosts.join(", ")}, and below none of them`,
          hint: `write ${name} under hosts, too`,
        });
      }
    }
  }
}
