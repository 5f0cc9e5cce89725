/** In which order the addresses of one endpoint are tried: families by turns (RFC 8305 §4), as Envoy. */
import {
  UpstreamConnectionOptions_FirstAddressFamilyVersion as Family,
  type UpstreamConnectionOptions_HappyEyeballsConfig as HappyEyeballsConfig,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { refuse } from "../engine/refusal.ts";

export interface AddressOrder {
  /** Which family begins; undefined: that of the first address. */
  readonly first: "ipv4" | "ipv6" | undefined;
  /** So many of it before one of the other. */
  readonly count: number;
}

export function compileAddressOrder(
  config: HappyEyeballsConfig | undefined,
  path: string,
): AddressOrder {
  if (config === undefined) return { first: undefined, count: 1 };
  const { firstAddressFamilyVersion: version, firstAddressFamilyCount: count = 1 } = config;
  if (count < 1) refuse(`${path}.first_address_family_count`, "must be at least 1");
  return { first: familyOf(version, `${path}.first_address_family_version`), count };
}

function familyOf(version: Family, path: string): AddressOrder["first"] {
  switch (version) {
    case Family.DEFAULT:
      return undefined;
    case Family.V4:
      return "ipv4";
    case Family.V6:
      return "ipv6";
    case Family.PIPE:
    case Family.INTERNAL:
    case Family.UNRECOGNIZED:
    default:
      return refuse(path, "is not supported: endpoints with several addresses have IP addresses");
  }
}

/** Each family keeps its own order. */
export function inOrder(
  addresses: readonly SocketAddress[],
  { first, count }: AddressOrder,
): readonly SocketAddress[] {
  const family = first ?? (isIpv6(addresses[0]) ? "ipv6" : "ipv4");
  const ofFirst = addresses.filter((one) => isIpv6(one) === (family === "ipv6"));
  const ofOther = addresses.filter((one) => isIpv6(one) !== (family === "ipv6"));
  const ordered: SocketAddress[] = [];
  while (ofFirst.length > 0 || ofOther.length > 0) {
    ordered.push(...ofFirst.splice(0, count), ...ofOther.splice(0, 1));
  }
  return ordered;
}

function isIpv6(address: SocketAddress | undefined): boolean {
  return address?.address.includes(":") === true;
}
