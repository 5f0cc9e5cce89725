/** Servers of Gateways as a gateway opens them: which of them share a port, and whose hosts they offer. */
import type { Gateway, VirtualService } from "../../model/config-resource.ts";
import type { GatewayServer } from "../../model/gateway.ts";
import { carriedBy } from "../../model/gateway.ts";
import { hostMatches } from "../../model/matching.ts";
import type { MeshShape } from "../mesh-model.ts";
import { resolveHost } from "./lookup.ts";

export interface OpenServer {
  readonly gateway: Gateway;
  readonly server: GatewayServer;
}

/** Of all that ask for a port those that the first one leaves room for: requests and bytes do not mix. */
export function serversOfOneKind<One extends OpenServer>(servers: readonly One[]): readonly One[] {
  const [first] = servers;
  if (first === undefined) return [];
  const carried = carriedBy(first.server);
  return servers.filter(({ server }) => carriedBy(server) === carried);
}

/** A server's host without the namespace that its VirtualServices must be of. */
export function offeredName(host: string): string {
  return host.slice(host.indexOf("/") + 1);
}

/** Hosts of a VirtualService that a server offers, the narrower of the two names each time. */
export function offeredHosts(
  model: MeshShape,
  rule: VirtualService,
  { gateway, server }: OpenServer,
): string[] {
  const offers = server.hosts.flatMap((written) => {
    const slash = written.indexOf("/");
    if (slash < 0) return [written];
    const namespace = written.slice(0, slash);
    const isOpen =
      namespace === "*" ||
      namespace === rule.namespace ||
      (namespace === "." && rule.namespace === gateway.namespace);
    return isOpen ? [offeredName(written)] : [];
  });
  const found = new Set<string>();
  for (const written of rule.spec.hosts) {
    const host = resolveHost(model, written, rule.namespace);
    for (const offer of offers.map((name) => name.toLowerCase())) {
      if (hostMatches(offer, host)) found.add(host);
      else if (hostMatches(host, offer)) found.add(offer);
    }
  }
  return [...found];
}
