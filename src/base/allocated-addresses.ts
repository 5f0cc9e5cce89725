/**
 * Addresses that the control plane gives to hosts which have none (Istio's ranges). Nobody listens on
 * them: an application calls them, and its proxy knows from them which host is meant.
 */

/** Where an address lies in its range, from 1. */
export type AllocatedPlace = number;

/** 240.240.0.0/16 without its first and last address. */
export const allocatedPlacesMax = 65_534;

export function allocatedAddresses(place: AllocatedPlace, hasIpv6: boolean): readonly string[] {
  const ipv4 = `240.240.${place >> 8}.${place & 0xff}`;
  return hasIpv6 ? [ipv4, `2001:2::${place.toString(16)}`] : [ipv4];
}

export function isAllocatedAddress(address: string): boolean {
  return address.startsWith("240.240.") || /^2001:0?0?0?2:(?::|0+:)/.test(address.toLowerCase());
}
