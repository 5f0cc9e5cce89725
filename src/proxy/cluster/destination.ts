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

/** Undefined where nothing is named. `onInvalid`: what should name something does not. */
export function destinationOf(
  discovery: Discovery,
  choice: EndpointChoice,
  onInvalid: () => void,
): SocketAddress | undefined {
  if (discovery.kind === "forward") {
    return addressOfAuthority(choice.authority ?? "", discovery.defaultPort);
  }
  if (discovery.kind !== "original-dst") return ownDestination(choice.connection);
  const { header, portOverride, metadata } = discovery;
  const named =
    told(stateOf(choice, originalDestinationKey), onInvalid) ??
    told(metadataText(choice.connection, metadata), onInvalid) ??
    told(header === undefined ? undefined : choice.wanted?.header(header), onInvalid) ??
    ownDestination(choice.connection);
  // A listener inside that was told of none: nothing is to be resolved there.
  if (named === undefined || parseIp(named.address) === undefined) return undefined;
  return { address: named.address, port: portOverride ?? named.port };
}

function told(text: string | undefined, onInvalid: () => void): SocketAddress | undefined {
  if (text === undefined) return undefined;
  const named = addressAndPort(text);
  if (named === undefined) onInvalid();
  return named;
}

/** Where a connection was accepted is no destination: it would lead here again, and again. */
function ownDestination({
  isDestinationRestored,
  destinationAddress,
  destinationPort,
}: EndpointChoice["connection"]): SocketAddress | undefined {
  return isDestinationRestored === true
    ? { address: destinationAddress, port: destinationPort }
    : undefined;
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
