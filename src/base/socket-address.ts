/** An IP address, textual (IPv4-mapped IPv6 unmapped), and a port. */
export interface SocketAddress {
  readonly address: string;
  readonly port: number;
}

/** `10.0.0.1:80`, `[::1]:80`. */
export function formatSocketAddress({ address, port }: SocketAddress): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}
