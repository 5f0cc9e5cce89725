/**
 * How datagrams of the application for services come to its sidecar: each service's address and port has a
 * port of the sidecar's on loopback, which the sidecar writes into a map when it listens there. The kernel
 * remembers where an answer belongs, so that the application sees it come from where it asked. Sockets at the
 * services' own addresses would need no rules, but take their ports from the application, which may
 * listen on the same (docs/decisions/0028).
 */
import { datagramTable } from "../../base/datagram-capture.ts";

/** For `nft -f -`; a table of its own, because that of capture is replaced while the mesh runs. */
export function datagramRules(mark: number): string {
  const redirect = (family: "ip" | "ip6", map: string): string =>
    `meta l4proto udp redirect to :${family} daddr . udp dport map @${map}`;
  return `table inet ${datagramTable}
delete table inet ${datagramTable}
table inet ${datagramTable} {
  map services4 { type ipv4_addr . inet_service : inet_service; }
  map services6 { type ipv6_addr . inet_service : inet_service; }
  chain output {
    type nat hook output priority -101; policy accept;
    meta mark 0x${mark.toString(16)} return
    meta nfproto ipv4 ${redirect("ip", "services4")}
    meta nfproto ipv6 ${redirect("ip6", "services6")}
  }
}
`;
}
