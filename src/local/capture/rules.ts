/**
 * Capture rules of one workload's network namespace, as text for `nft -f` or `iptables-restore`.
 * Semantics are Istio's (istio-iptables) with two differences: the proxy's own packets are known by
 * a socket mark, not by a uid, and what would leave around the sidecar is dropped and counted.
 *
 * - Outbound TCP goes to the sidecar's outbound port, whatever its port, IPv4 and IPv6.
 * - Inbound TCP goes to its inbound port, except the sidecar's own ports.
 * - DNS (UDP and TCP 53) goes to its resolver.
 * - Loopback to itself and own address to itself are left alone; the proxy calling its own
 *   workload's address goes through the inbound side, as another caller would.
 */
import type { SidecarPorts } from "../../base/sidecar-options.ts";

export interface CaptureRules {
  /** The interface towards the mesh. */
  readonly device: string;
  readonly ports: SidecarPorts;
  /** Mark of the proxy's own sockets. */
  readonly mark: number;
  /** The control plane's addresses and TCP ports there, which the agent reaches itself. */
  readonly control: {
    readonly ipv4: string;
    readonly ipv6: string;
    readonly ports: readonly number[];
  };
  /** What to do with UDP that is not DNS: let it pass (ALLOW_ANY) or refuse it (REGISTRY_ONLY). */
  readonly udp: "pass" | "refuse";
  readonly hasIpv6: boolean;
}

/** Names of the nft counters: packets dropped, and packets that left, around the sidecar. */
export const captureCounters = {
  dropped: "dropped",
  around: "around",
  other: "undeclared",
} as const;

/**
 * Ports on which the sidecar answers for itself, on the workload's IPv4 address alone: whatever it does
 * not listen on must be captured, or the application could listen there and be reached around it. So
 * is HBONE's port (15008), as long as no sidecar listens there.
 */
function inboundExceptions(ports: SidecarPorts): string {
  return [ports.mergedMetrics, ports.ready, ports.metrics].join(", ");
}

/** A script for `nft -f -` that replaces the table `heddle` in the current network namespace. */
export function nftRules(rules: CaptureRules): string {
  const { device, ports, control } = rules;
  const mark = `0x${rules.mark.toString(16)}`;
  const controlPorts = control.ports.join(", ");
  const own = inboundExceptions(ports);
  const udp =
    rules.udp === "pass"
      ? `counter name ${captureCounters.other} accept`
      : `counter name ${captureCounters.dropped} drop`;
  // What leaves is judged after routing: the output hooks still see the device that a redirected
  // packet would have taken. A reset without the mark is the kernel's word to a peer whose connection is
  // gone, with a sidecar that was killed or with the instance that had the address before: an application
  // has no connection of its own on this device to reset, and resets hold nothing.
  return `table inet heddle
delete table inet heddle
table inet heddle {
  counter ${captureCounters.dropped} { }
  counter ${captureCounters.around} { }
  counter ${captureCounters.other} { }
  chain inbound {
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "${device}" return
    meta l4proto != tcp return
    meta nfproto ipv4 tcp dport { ${own} } return
    meta l4proto tcp redirect to :${ports.inbound}
  }
  chain outbound {
    type nat hook output priority -100; policy accept;
    oifname "lo" ip saddr 127.0.0.6 return
    oifname "lo" ip6 saddr ::6 return
    meta mark ${mark} oifname "lo" ip daddr != 127.0.0.0/8 tcp dport != { ${own} } redirect to :${ports.inbound}
    meta mark ${mark} oifname "lo" ip6 daddr != ::1 meta l4proto tcp redirect to :${ports.inbound}
    meta mark ${mark} return
    ip daddr ${control.ipv4} tcp dport { ${controlPorts} } return
    ip6 daddr ${control.ipv6} tcp dport { ${controlPorts} } return
    udp dport 53 redirect to :${ports.dns}
    tcp dport 53 redirect to :${ports.dns}
    oifname "lo" return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    meta l4proto tcp redirect to :${ports.outbound}
  }
  chain leaving {
    type filter hook postrouting priority 0; policy accept;
    oifname != "${device}" accept
    meta mark ${mark} accept
    ct direction reply accept
    tcp flags & rst == rst accept
    ip daddr ${control.ipv4} tcp dport { ${controlPorts} } accept
    ip6 daddr ${control.ipv6} tcp dport { ${controlPorts} } accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld2-listener-report } accept
    ip protocol igmp accept
    meta l4proto udp ${udp}
    meta l4proto { icmp, icmpv6 } ${udp}
    counter name ${captureCounters.dropped} drop
  }
  chain left {
    type filter hook postrouting priority 300; policy accept;
    oifname != "${device}" accept
    meta mark ${mark} accept
    meta l4proto != tcp accept
    ct direction reply accept
    tcp flags & rst == rst accept
    ip daddr ${control.ipv4} tcp dport { ${controlPorts} } accept
    ip6 daddr ${control.ipv6} tcp dport { ${controlPorts} } accept
    counter name ${captureCounters.around}
  }
}
`;
}

/** The same for `iptables-restore` (`family` 4) or `ip6tables-restore` (6), where nft is missing. */
export function iptablesRules(rules: CaptureRules, family: 4 | 6): string {
  const { device, ports } = rules;
  const mark = `0x${rules.mark.toString(16)}`;
  const loopback = family === 4 ? "127.0.0.0/8" : "::1/128";
  const passthrough = family === 4 ? "127.0.0.6/32" : "::6/128";
  const control = family === 4 ? `${rules.control.ipv4}/32` : `${rules.control.ipv6}/128`;
  const icmp = family === 4 ? "icmp" : "ipv6-icmp";
  const exceptions = inboundExceptions(ports).replaceAll(" ", "");
  const [own, notOwn] =
    family === 4
      ? [
          [`-A HEDDLE_INBOUND -p tcp -m multiport --dports ${exceptions} -j RETURN`],
          `-m multiport ! --dports ${exceptions} `,
        ]
      : [[], ""];
  const toControl = `-d ${control} -p tcp -m multiport --dports ${rules.control.ports.join(",")}`;
  const other = rules.udp === "pass" ? "ACCEPT" : "DROP";
  return [
    "*nat",
    ":HEDDLE_INBOUND - [0:0]",
    ":HEDDLE_OUTBOUND - [0:0]",
    `-A PREROUTING -i ${device} -p tcp -j HEDDLE_INBOUND`,
    ...own,
    `-A HEDDLE_INBOUND -p tcp -j REDIRECT --to-ports ${ports.inbound}`,
    "-A OUTPUT -j HEDDLE_OUTBOUND",
    `-A HEDDLE_OUTBOUND -o lo -s ${passthrough} -j RETURN`,
    `-A HEDDLE_OUTBOUND -m mark --mark ${mark} -o lo ! -d ${loopback} -p tcp ${notOwn}-j REDIRECT --to-ports ${ports.inbound}`,
    `-A HEDDLE_OUTBOUND -m mark --mark ${mark} -j RETURN`,
    `-A HEDDLE_OUTBOUND ${toControl} -j RETURN`,
    `-A HEDDLE_OUTBOUND -p udp --dport 53 -j REDIRECT --to-ports ${ports.dns}`,
    `-A HEDDLE_OUTBOUND -p tcp --dport 53 -j REDIRECT --to-ports ${ports.dns}`,
    "-A HEDDLE_OUTBOUND -o lo -j RETURN",
    `-A HEDDLE_OUTBOUND -d ${loopback} -j RETURN`,
    `-A HEDDLE_OUTBOUND -p tcp -j REDIRECT --to-ports ${ports.outbound}`,
    "COMMIT",
    "*mangle",
    ":HEDDLE_LEAVING - [0:0]",
    `-A POSTROUTING -o ${device} -j HEDDLE_LEAVING`,
    `-A HEDDLE_LEAVING -m mark --mark ${mark} -j ACCEPT`,
    "-A HEDDLE_LEAVING -m conntrack --ctdir REPLY -j ACCEPT",
    "-A HEDDLE_LEAVING -p tcp --tcp-flags RST RST -j ACCEPT",
    `-A HEDDLE_LEAVING ${toControl} -j ACCEPT`,
    ...(family === 6
      ? [133, 135, 136, 143].map(
          (type) => `-A HEDDLE_LEAVING -p ipv6-icmp --icmpv6-type ${type} -j ACCEPT`,
        )
      : ["-A HEDDLE_LEAVING -p igmp -j ACCEPT"]),
    `-A HEDDLE_LEAVING -p udp -j ${other}`,
    `-A HEDDLE_LEAVING -p ${icmp} -j ${other}`,
    "-A HEDDLE_LEAVING -j DROP",
    "COMMIT",
    "",
  ].join("\n");
}

export interface EdgeRules {
  /** The bridge that workloads hang on. */
  readonly bridge: string;
  /** Port of the uplink's listener. */
  readonly uplinkPort: number;
  readonly mesh: { readonly ipv4: string; readonly ipv6: string };
  readonly services: { readonly ipv4: string; readonly ipv6: string };
}

/**
 * Rules at the edge of the mesh: TCP from workloads to anywhere else goes to the uplink; a service
 * address that nobody captured is refused rather than sent out. Nothing is forwarded.
 */
export function nftEdgeRules(rules: EdgeRules): string {
  const { bridge, mesh, services, uplinkPort } = rules;
  return `table inet heddle-edge
delete table inet heddle-edge
table inet heddle-edge {
  chain uplink {
    type nat hook prerouting priority dstnat; policy accept;
    iifname != "${bridge}" return
    ip daddr { ${mesh.ipv4}, ${services.ipv4}, 127.0.0.0/8, 224.0.0.0/4 } return
    ip6 daddr { ${mesh.ipv6}, ${services.ipv6}, ::1, fe80::/10, ff00::/8 } return
    meta l4proto tcp redirect to :${uplinkPort}
  }
  chain forward {
    type filter hook forward priority filter; policy accept;
    iifname "${bridge}" oifname "${bridge}" ip daddr ${mesh.ipv4} accept
    iifname "${bridge}" oifname "${bridge}" ip6 daddr ${mesh.ipv6} accept
    meta l4proto tcp reject with tcp reset
    reject
  }
}
`;
}

/** The same for `iptables-restore` (4) or `ip6tables-restore` (6). */
export function iptablesEdgeRules(rules: EdgeRules, family: 4 | 6): string {
  const { bridge } = rules;
  const key = family === 4 ? "ipv4" : "ipv6";
  const local =
    family === 4 ? ["127.0.0.0/8", "224.0.0.0/4"] : ["::1/128", "fe80::/10", "ff00::/8"];
  const inside = [rules.mesh[key], rules.services[key], ...local];
  return [
    "*nat",
    ":HEDDLE_UPLINK - [0:0]",
    `-A PREROUTING -i ${bridge} -p tcp -j HEDDLE_UPLINK`,
    ...inside.map((range) => `-A HEDDLE_UPLINK -d ${range} -j RETURN`),
    `-A HEDDLE_UPLINK -p tcp -j REDIRECT --to-ports ${rules.uplinkPort}`,
    "COMMIT",
    "*filter",
    `-A FORWARD -i ${bridge} -o ${bridge} -d ${rules.mesh[key]} -j ACCEPT`,
    "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
    "-A FORWARD -j REJECT",
    "COMMIT",
    "",
  ].join("\n");
}
