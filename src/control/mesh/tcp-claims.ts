/**
 * Which service gets a TCP connection. A connection tells where it goes, and the server's name where
 * TLS is spoken; services that have neither of their own share a port, and only the first of them gets
 * what comes there.
 */
import type { PortProtocol } from "../../model/workload.ts";
import type { MeshPort, ServiceShape } from "../mesh-model.ts";

export interface ServicePortPair {
  readonly service: ServiceShape;
  readonly port: MeshPort;
}

/** By what one service port is recognised; by nothing when all of them are empty. */
export interface TcpClaim extends ServicePortPair {
  readonly addresses: readonly string[];
  readonly ranges: readonly string[];
  /** Undefined where names are not looked at. */
  readonly serverName: string | undefined;
  /** It takes what nothing else on its port takes. */
  readonly isRest: boolean;
  /** Who has what it asked for, when it gets nothing. */
  readonly loses: ServicePortPair | undefined;
}

type Carried = "http" | "http2" | "tcp" | "auto";

/** How proxies treat a port. */
export function carriedAs(protocol: PortProtocol): Carried {
  switch (protocol) {
    case "http":
    case "auto":
      return protocol;
    case "http2":
    case "grpc":
      return "http2";
    case "tcp":
    case "tls":
    case "https":
    case "udp":
      return "tcp";
  }
}

/** The claims of all ports that a caller does not reach by HTTP alone, in order of hostname. */
export function tcpClaims(services: readonly ServiceShape[]): readonly TcpClaim[] {
  const owners = new Map<string, ServicePortPair>();
  const claims: TcpClaim[] = [];
  const isHttp = ({ protocol }: MeshPort): boolean =>
    ["http", "http2"].includes(carriedAs(protocol));
  for (const service of services) {
    for (const port of service.ports) {
      // Every connection to the port goes to its table of hosts, which knows what is not HTTP.
      if (isHttp(port)) owners.set(`rest ${port.number}`, { service, port });
    }
  }
  for (const service of services) {
    for (const port of service.ports) {
      if (isHttp(port) || port.protocol === "udp") continue;
      claims.push(claimOf({ service, port }, owners));
    }
  }
  return claims;
}

function claimOf(pair: ServicePortPair, owners: Map<string, ServicePortPair>): TcpClaim {
  const { service, port } = pair;
  let loses: ServicePortPair | undefined;
  const take = (what: string): boolean => {
    const owner = owners.get(what);
    if (owner === undefined) owners.set(what, pair);
    else loses ??= owner;
    return owner === undefined;
  };
  const isTls = port.protocol === "tls" || port.protocol === "https";
  const serverName = isTls && service.hostname !== "*" ? service.hostname : undefined;
  const ranges = service.addresses
    .filter((address) => address.includes("/"))
    .filter((range) => take(`${range} ${port.number} ${serverName ?? ""}`));
  const addresses = service.addresses
    .filter((address) => !address.includes("/"))
    .filter((address) => take(`${address} ${port.number}`));
  const isPlaceless = service.addresses.length === 0;
  const isRest = isPlaceless && serverName === undefined && take(`rest ${port.number}`);
  const isNamed =
    serverName !== undefined && (isPlaceless || ranges.length > 0 || service.isAllocated);
  const isServed = isRest || isNamed || addresses.length > 0 || ranges.length > 0;
  return {
    ...pair,
    addresses,
    ranges,
    serverName: isNamed ? serverName : undefined,
    isRest,
    loses: isServed ? undefined : loses,
  };
}
