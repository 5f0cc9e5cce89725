/** The addresses by which a mesh's own services are called: nobody listens on them, proxies know whom they mean. */

/** Of services of a mesh on one machine. */
export const declaredRanges = { ipv4: "198.19.0.0/16", ipv6: "fd48:6564:646c:13::/64" } as const;

/** Of hosts to which the control plane gives an address (`allocated-addresses.ts`). */
export const allocatedRanges = { ipv4: "240.240.0.0/16", ipv6: "2001:2::/48" } as const;
