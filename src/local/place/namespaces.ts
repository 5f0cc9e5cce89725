/**
 * Instances in network namespaces: a bridge, one namespace with a veth per instance, capture rules.
 * Runs inside the mesh's own user, mount, network and PID namespaces, where this process is root;
 * nothing here touches the host, and all of it ends with the PID namespace.
 */
import { chmodSync, readFileSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";

import type { SidecarPorts } from "../../base/sidecar-options.ts";
import { HeddleError } from "../../base/error.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { InstancePort } from "../../model/workload.ts";
import { datagramRules } from "../capture/datagram-rules.ts";
import type { CaptureRules } from "../capture/rules.ts";
import { iptablesEdgeRules, iptablesRules, nftEdgeRules, nftRules } from "../capture/rules.ts";
import { uplinkPort } from "../file/ports.ts";
import type { AddressBooks } from "../mesh-addresses.ts";
import {
  edgeAddress,
  meshRanges,
  saveAddressBooks,
  serviceAddresses,
  workloadAddresses,
} from "../mesh-addresses.ts";
import type { ControlPlanePorts, MeshFile } from "../mesh-file.ts";
import type { Place, Placement } from "../placement.ts";
import { clusterDomain, type InstancePlan } from "../plan.ts";
import { runCommand } from "../run/command.ts";
import { eachAtMost } from "../run/each-at-most.ts";
import type { ProcessSpec } from "../run/kept-process.ts";
import { makePrivateDirectory, replaceFile } from "../run/replace-file.ts";
import { confinedSpec, quote } from "./application-script.ts";
import { relayPortsFor } from "./relay-ports.ts";
import { detoursTo, programPlaces, type User } from "./detours.ts";

export interface NamespacesOptions {
  readonly stateDir: string;
  readonly books: AddressBooks;
  readonly mtu: number;
  readonly hasIpv6: boolean;
  readonly firewall: "nft" | "iptables";
  /** Directories applications must find empty, besides the state directory. */
  readonly hidden: readonly string[];
  /** What applications must not write. */
  readonly readOnly: readonly string[];
  /** What applications must be able to reach. */
  readonly needed: readonly string[];
  readonly applicationUser: User | undefined;
  readonly controlPlanePorts: ControlPlanePorts;
  /** Of every sidecar. */
  readonly sidecarPorts: SidecarPorts;
}

/** Istio's mark for the proxy's own sockets. */
export const proxySocketMark = 0x539;
const bridge = "heddle0";
/** A placement that can also say where its gateways hear from the edge. */
export interface NamespacesPlacement extends Placement {
  /** The port for what arrives for a gateway's `target`, with a PROXY header that says from whom. */
  relayPortOf(target: SocketAddress): number | undefined;
  /** Where the edge hears DNS over TCP, on its IPv4 address. */
  readonly dnsPort: number;
}

/** Makes the bridge and the edge's rules. */
export async function openNamespaces(options: NamespacesOptions): Promise<NamespacesPlacement> {
  const placement = new Namespaces(options);
  await placement.open();
  return placement;
}

class Namespaces implements NamespacesPlacement {
  readonly kind = "namespaces";
  readonly control: SocketAddress;
  readonly plainXds: SocketAddress;
  readonly controlMetrics: SocketAddress;
  readonly dnsPort: number;
  readonly dnsUpstream: string;
  readonly #options: NamespacesOptions;
  readonly #netnsDir: string;
  /** Namespaces of the workloads that have a place. */
  readonly #captured = new Set<string>();
  /** By the gateway's own address and port. */
  readonly #relayPorts = new Map<string, number>();
  #udp: CaptureRules["udp"] = "pass";

  constructor(options: NamespacesOptions) {
    this.#options = options;
    const { secureXds, plainXds, metrics } = options.controlPlanePorts;
    this.control = { address: edgeAddress.ipv4, port: secureXds };
    this.plainXds = { address: "127.0.0.1", port: plainXds };
    this.controlMetrics = { address: "127.0.0.1", port: metrics };
    // As sidecars' own, so that a number which the user keeps free is free here, too.
    this.dnsPort = options.sidecarPorts.dns;
    this.dnsUpstream = formatSocketAddress({ address: edgeAddress.ipv4, port: this.dnsPort });
    this.#netnsDir = join(options.stateDir, "netns");
  }

  async open(): Promise<void> {
    const { hasIpv6, mtu } = this.#options;
    makePrivateDirectory(this.#netnsDir);
    const rules = {
      bridge,
      uplinkPort,
      mesh: meshRanges.mesh,
      services: meshRanges.services,
    };
    const addresses = [
      `addr add ${edgeAddress.ipv4}/16 dev ${bridge}`,
      ...(hasIpv6 ? [`addr add ${edgeAddress.ipv6}/64 dev ${bridge} nodad`] : []),
    ];
    const links = [
      "link set lo up",
      `link add ${bridge} mtu ${mtu} type bridge mcast_snooping 0`,
      ...addresses,
      `link set ${bridge} up`,
      // A way that the rules below close at once: that there is none, ICMP tells late or never.
      `route add ${meshRanges.services.ipv4} dev lo`,
      // Over IPv6 a way by loopback is none.
      ...(hasIpv6 ? [`route add ${meshRanges.services.ipv6} dev ${bridge}`] : []),
    ];
    await runCommand([
      "sh",
      "-c",
      [
        "set -e",
        `mount -t tmpfs -o mode=0700,size=1m heddle ${quote(this.#netnsDir)}`,
        `ip -batch - <<'END'\n${links.join("\n")}\nEND`,
        // Forwarding is refused by the rules below: so who asks for an address nobody has is told at
        // once (ICMP), where a host that does not forward would stay silent.
        "for f in ipv4/ip_forward ipv6/conf/all/forwarding; do [ ! -w /proc/sys/net/$f ] || echo 1 >/proc/sys/net/$f; done",
        // A host that filters bridged frames would otherwise push them through the edge's rules.
        "for call in iptables ip6tables; do f=/proc/sys/net/bridge/bridge-nf-call-$call; [ ! -w $f ] || echo 0 >$f || true; done",
        firewallScript(this.#options, nftEdgeRules(rules), (family) =>
          iptablesEdgeRules(rules, family),
        ),
      ].join("\n"),
    ]);
  }

  async place(plan: InstancePlan): Promise<Place> {
    const { books, hasIpv6, stateDir } = this.#options;
    const index = books.instances.numberOf(plan.key);
    if (index === undefined) {
      throw new HeddleError("local.addresses", "all 65,532 workload addresses are taken");
    }
    saveAddressBooks(stateDir, books);
    const namespace = join(this.#netnsDir, String(index));
    await runCommand(["sh", "-c", this.#placeScript(plan, index, namespace)]);
    if (plan.role !== "gateway") this.#captured.add(namespace);
    const addresses = workloadAddresses(index, hasIpv6);
    const place = new NamespacePlace(plan, addresses, namespace, this.#options, {
      device: `veth${index}`,
      onClose: () => this.#captured.delete(namespace),
    });
    for (const { endpointAddress: address, endpointPort: port, relay } of place.ports) {
      if (relay !== undefined) {
        this.#relayPorts.set(formatSocketAddress({ address, port }), relay.port);
      }
    }
    return place;
  }

  relayPortOf(target: SocketAddress): number | undefined {
    return this.#relayPorts.get(formatSocketAddress(target));
  }

  // Undeclared UDP follows outboundTrafficPolicy. A table is replaced in one transaction.
  async follow(file: MeshFile): Promise<void> {
    const udp = file.outboundTrafficPolicy === "ALLOW_ANY" ? "pass" : "refuse";
    if (udp === this.#udp) return;
    this.#udp = udp;
    const script = this.#captureScript();
    await eachAtMost(4, [...this.#captured], async (namespace) => {
      await runCommand(["nsenter", `--net=${namespace}`, "sh", "-s"], script);
    });
  }

  serviceAddresses(key: string): readonly string[] {
    const { books, hasIpv6, stateDir } = this.#options;
    const index = books.services.numberOf(key);
    if (index === undefined) return [];
    saveAddressBooks(stateDir, books);
    return serviceAddresses(index, hasIpv6);
  }

  async close(): Promise<void> {
    // The namespaces end with the processes in them and with this mount namespace.
  }

  #placeScript(plan: InstancePlan, index: number, namespace: string): string {
    const { hasIpv6, mtu } = this.#options;
    const [ipv4 = "", ipv6] = workloadAddresses(index, hasIpv6);
    const inside = [
      "link set lo up",
      `addr add ${ipv4}/16 dev eth0`,
      ...(ipv6 === undefined
        ? []
        : [`addr add ${ipv6}/64 dev eth0 nodad`, "addr add ::6/128 dev lo nodad"]),
      "link set eth0 up",
      `route add default via ${edgeAddress.ipv4}`,
      ...(ipv6 === undefined ? [] : [`route add default via ${edgeAddress.ipv6} dev eth0`]),
    ];
    const capture = plan.role === "gateway" ? "" : this.#captureScript(true);
    const device = `veth${index}`;
    const path = quote(namespace);
    return [
      "set -e",
      `if [ -e ${path} ]; then ip link del ${device} 2>/dev/null || true; umount ${path} 2>/dev/null || true; rm -f ${path}; fi`,
      `: >${path}`,
      `unshare --net=${path} true`,
      `ip link add ${device} mtu ${mtu} master ${bridge} type veth peer name eth0 address ${linkAddress(ipv4)} mtu ${mtu} netns ${path}`,
      `ip link set ${device} up`,
      `exec nsenter --net=${path} sh -s <<'OUTER'`,
      "set -e",
      `ip -batch - <<'END'\n${inside.join("\n")}\nEND`,
      capture,
      "OUTER",
    ].join("\n");
  }

  #captureScript(isNew = false): string {
    const rules = this.#captureRules();
    const nft = nftRules(rules) + (isNew ? datagramRules(proxySocketMark) : "");
    return firewallScript(this.#options, nft, (family) => iptablesRules(rules, family));
  }

  #captureRules(): CaptureRules {
    return {
      device: "eth0",
      ports: this.#options.sidecarPorts,
      mark: proxySocketMark,
      control: { ...edgeAddress, ports: [this.control.port, this.dnsPort] },
      udp: this.#udp,
      hasIpv6: this.#options.hasIpv6,
    };
  }
}

class NamespacePlace implements Place {
  readonly addresses: readonly string[];
  readonly capture: Place["capture"];
  readonly sidecarPorts: SidecarPorts;
  readonly statusAddress: string;
  readonly socketMark = proxySocketMark;
  readonly ports: readonly InstancePort[];
  readonly localDestinations = [];
  readonly #namespace: string;
  readonly #options: NamespacesOptions;
  readonly #resolvConf: string;
  readonly #device: string;
  readonly #onClose: () => void;

  constructor(
    plan: InstancePlan,
    addresses: readonly string[],
    namespace: string,
    options: NamespacesOptions,
    { device, onClose }: { readonly device: string; readonly onClose: () => void },
  ) {
    this.#device = device;
    this.#onClose = onClose;
    const own = addresses[0] ?? "";
    this.addresses = addresses;
    this.sidecarPorts = options.sidecarPorts;
    this.statusAddress = own;
    this.capture = plan.role === "gateway" ? "gateway" : "transparent";
    const relayPorts = relayPortsFor(plan, options.sidecarPorts);
    this.ports = plan.spec.ports.map((port, portIndex): InstancePort => {
      const number = "targetPort" in port ? port.targetPort : port.port;
      const appAddress = plan.role === "gateway" ? own : "127.0.0.1";
      const { protocol } = port;
      const endpoint = { endpointAddress: own, endpointPort: number };
      const relayPort = relayPorts[portIndex];
      const relay =
        relayPort === undefined ? {} : { relay: { port: relayPort, from: [edgeAddress.ipv4] } };
      return { port: number, protocol, appAddress, ...endpoint, ...relay };
    });
    this.#namespace = namespace;
    this.#options = options;
    this.#resolvConf = `${namespace}.resolv.conf`;
    const domain = clusterDomain;
    const search = `${plan.spec.namespace}.svc.${domain} svc.${domain} ${domain}`;
    replaceFile(
      this.#resolvConf,
      `nameserver ${edgeAddress.ipv4}\nsearch ${search}\noptions ndots:5\n`,
    );
    chmodSync(this.#resolvConf, 0o644); // applications read it under another uid
  }

  // Of root's power the sidecar keeps what capture and its files need: even taken over, it cannot
  // leave its network namespace.
  sidecar(spec: ProcessSpec): ProcessSpec {
    const command = [
      "nsenter",
      `--net=${this.#namespace}`,
      "--",
      "setpriv",
      "--no-new-privs",
      "--inh-caps=-all",
      "--bounding-set=-all,+net_admin,+net_bind_service,+dac_override",
      "--",
      ...spec.command,
    ];
    return { ...spec, command };
  }

  application(spec: ProcessSpec, writable: readonly string[]): ProcessSpec {
    const { applicationUser, hidden, readOnly, needed, stateDir } = this.#options;
    const places = [...needed, spec.directory, ...programPlaces(spec.environment["PATH"] ?? "")];
    return confinedSpec(spec, {
      networkNamespace: this.#namespace,
      resolvConf: this.#resolvConf,
      hidden: [...hidden, stateDir],
      readOnly,
      writable,
      workshop: `${this.#namespace}.workshop`,
      user: applicationUser,
      detours: applicationUser === undefined ? [] : detoursTo(places, applicationUser),
    });
  }

  // `pid` is unshare, which ignores SIGTERM while it waits; its child is the application's init, and
  // killing that ends everything in its PID namespace.
  signalApplication(pid: number, signal: NodeJS.Signals): void {
    for (const child of childrenOf(pid)) {
      try {
        process.kill(child, signal);
      } catch {
        // ESRCH: it has ended.
      }
    }
    if (signal === "SIGKILL") {
      try {
        process.kill(pid, signal);
      } catch {
        // ESRCH: it has ended.
      }
    }
  }

  async isListening(port: number, pid: number): Promise<boolean> {
    const tables = await Promise.all(
      ["tcp", "tcp6"].map((name) => readFile(`/proc/${pid}/net/${name}`, "utf8").catch(() => "")),
    );
    return tables.some((table) => hasListener(table, port));
  }

  async close(): Promise<void> {
    this.#onClose();
    const path = quote(this.#namespace);
    // The kernel takes a namespace down in its own time, and with it the device, whose name and
    // address the next instance in this place wants at once.
    const script = `ip link del ${this.#device} 2>/dev/null; umount ${path} 2>/dev/null; rm -f ${path}; true`;
    await runCommand(["sh", "-c", script]);
    rmSync(this.#resolvConf, { force: true });
  }
}

/**
 * An Ethernet address that follows from the IPv4 address: neighbours remember one for half a minute,
 * and would talk past an instance that was made anew with another.
 */
function linkAddress(ipv4: string): string {
  const bytes = ipv4.split(".").map((part) => Number(part).toString(16).padStart(2, "0"));
  return ["02", "68", ...bytes].join(":");
}

/** Whether a table of /proc/net/tcp or tcp6 shows a listening socket (state 0A) on `port`. */
export function hasListener(table: string, port: number): boolean {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return table.split("\n").some((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return state === "0A" && local?.endsWith(wanted) === true;
  });
}

function childrenOf(pid: number): readonly number[] {
  try {
    const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8");
    return text
      .split(" ")
      .filter((word) => word !== "")
      .map(Number);
  } catch {
    return []; // it has ended
  }
}

function firewallScript(
  options: NamespacesOptions,
  nft: string,
  iptables: (family: 4 | 6) => string,
): string {
  if (options.firewall === "nft") return `nft -f - <<'END'\n${nft}\nEND`;
  const scripts = [`iptables-restore --wait <<'END'\n${iptables(4)}\nEND`];
  if (options.hasIpv6) scripts.push(`ip6tables-restore --wait <<'END'\n${iptables(6)}\nEND`);
  return scripts.join("\n");
}
