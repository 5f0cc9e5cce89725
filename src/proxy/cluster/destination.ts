/**
 * Where a cluster that connects wherever it is told goes: what filters have set, then metadata, then
 * a header of the request, and where the connection itself was meant to go at last. As Envoy.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { EndpointChoice } from "../context.ts";
import { originalDestinationKey } from "../engine/filter-state.ts";
import { parseIp } from "../engine/ip.ts";
import type { Discovery } from "./discovery.ts";
import { addressOfAuthority } from "./forward.ts";

/** Undefined where the request names nothing. */
export function destinationOf(
  discovery: Discovery,
  choice: EndpointChoice,
): SocketAddress | undefined {
  if (discovery.kind === "forward") {
    return addressOfAuthority(choice.authority ?? "", discovery.defaultPort);
  }
  const { destinationAddress, destinationPort } = choice.connection;
  if (discovery.kind !== "original-dst") {
    return { address: destinationAddress, port: destinationPort };
  }
  const { header, portOverride, metadata } = discovery;
  const told = header === undefined ? undefined : choice.wanted?.header(header);
  const set =
    stateOf(choice, originalDestinationKey) ?? metadataText(choice.connection, metadata) ?? told;
  const named = set === undefined ? undefined : addressAndPort(set);
  const { address, port } = named ?? { address: destinationAddress, port: destinationPort };
  // A listener inside that was told of none: nothing is to be resolved there.
  if (parseIp(address) === undefined) return undefined;
  return { address, port: portOverride ?? port };
}

function stateOf({ wanted, connection }: EndpointChoice, key: string): string | undefined {
  return (wanted?.state?.get(key) ?? connection.state?.get(key))?.text;
}

function metadataText(
  { metadata }: EndpointChoice["connection"],
  path: readonly [namespace: string, ...path: string[]] | undefined,
): string | undefined {
  if (path === undefined || metadata === undefined) return undefined;
  const [namespace, ...keys] = path;
  let value: unknown = metadata.get(namespace);
  for (const key of keys) {
    if (typeof value !== "object" || value === null) return undefined;
    value = Object.hasOwn(value, key) ? Reflect.get(value, key) : undefined;
  }
  return typeof value === "string" ? value : undefined;
}

/** Undefined for what is no IP address with a port, which names nothing. */
function addressAndPort(text: string): SocketAddress | undefined {
  const named = addressOfAuthority(text, 0);
  return named === undefined || parseIp(named.address) === undefined ? undefined : named;
}
