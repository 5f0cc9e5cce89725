/**
 * An IP address, textual (IPv4-mapped IPv6 unmapped), and a port. What is no such place has something else
 * instead of an address, and no port: a URI where it lies inside the proxy, and where it is a Unix socket
 * the absolute path of its file, or its abstract name behind an `@`.
 */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** `10.0.0.1:80`, `[::1]:80`, `/run/app.sock`. */
export function formatSocketAddress({ address, port }: SocketAddress): string {
  if (!hasPort(address)) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Whether it is a Unix socket. */
export function isPipe(address: string): boolean {
  return address.startsWith("/") || address.startsWith("@");
}

/** Whether there are ports where it is: neither inside the proxy nor at a Unix socket. */
export function hasPort(address: string): boolean {
  return !isPipe(address) && !address.startsWith("envoy:");
}
