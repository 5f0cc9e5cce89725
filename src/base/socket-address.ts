/**
 * An IP address, textual (IPv4-mapped IPv6 unmapped), and a port. What is no such place, because it
 * lies inside the proxy, has a URI instead of an address, and no port.
 */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** `10.0.0.1:80`, `[::1]:80`. */
export function formatSocketAddress({ address, port }: SocketAddress): string {
  if (!address.includes(":")) return `${address}:${port}`;
  return address.startsWith("envoy:") ? address : `[${address}]:${port}`;
}
