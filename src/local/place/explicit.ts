/**
 * Instances without namespaces: everything on 127.0.0.1, every sidecar with ports of its own, the
 * applications told where their proxy is. What this cannot do: keep a local process from going
 * around the sidecar, or resolve the mesh's names for what ignores `http_proxy`.
 */
import type { Server } from "node:net";

import type { SidecarPorts } from "../../base/sidecar-options.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { InstancePort, LocalDestination } from "../../model/workload.ts";
import { type ControlPlanePorts, gatewayPortKey } from "../mesh-file.ts";
import type { Place, Placement } from "../placement.ts";
import type { InstancePlan } from "../plan.ts";
import { clusterDomain, serviceHostname } from "../plan.ts";
import type { GatewayTarget, HostPortOpener, OpenHostPort } from "../run/host-ports.ts";
import type { ProcessSpec } from "../run/kept-process.ts";
import { signalGroup } from "../run/kept-process.ts";
import { isOpen } from "../run/ready.ts";
import { freePorts, reservePort } from "./free-ports.ts";

const loopback = "127.0.0.1";

export interface ExplicitOptions {
  /** Host ports that were found free before the mesh was started, by `gatewayPortKey`. */
  readonly chosen: ReadonlyMap<string, number>;
  /** As the file gives them; others are any that are free. */
  readonly controlPlanePorts: Partial<ControlPlanePorts>;
  /** Listens on the host, or rejects with a sentence. */
  readonly openOnHost: (
    what: string,
    address: SocketAddress,
  ) => Promise<{ readonly server: Server; readonly address: SocketAddress }>;
}

export async function openExplicit(options: ExplicitOptions): Promise<ExplicitPlacement> {
  const { controlPlanePorts: written } = options;
  for (const [name, port] of Object.entries(written)) {
    // Now is when it can be said in a sentence; the control plane would only fail again and again.
    const what = `the control plane (ports.controlPlane.${name})`;
    const { server } = await options.openOnHost(what, { address: loopback, port });
    await closed(server);
    reservePort(port);
  }
  const [secure = 0, plain = 0, free = 0] = await freePorts(3);
  const { secureXds = secure, plainXds = plain, metrics = free } = written;
  return new ExplicitPlacement(options, { secureXds, plainXds, metrics });
}

/** Its gateways listen on the host themselves: a port is opened by telling the gateway to move there. */
class ExplicitPlacement implements Placement, HostPortOpener {
  readonly kind = "explicit";
  readonly control: SocketAddress;
  readonly plainXds: SocketAddress;
  readonly controlMetrics: SocketAddress;
  readonly dnsUpstream = undefined;
  readonly #options: ExplicitOptions;
  readonly #chosen: Map<string, number>;
  /** Ports of the host that gateways have, by `gatewayPortKey`. */
  readonly #hostPorts = new Map<string, number>();

  constructor(options: ExplicitOptions, ports: ControlPlanePorts) {
    this.#options = options;
    this.#chosen = new Map(options.chosen);
    // From the first moment: a gateway that moved there would be ready before it listens.
    for (const [key, port] of options.chosen) this.#hostPorts.set(key, port);
    this.control = { address: loopback, port: ports.secureXds };
    this.plainXds = { address: loopback, port: ports.plainXds };
    this.controlMetrics = { address: loopback, port: ports.metrics };
  }

  async place(plan: InstancePlan): Promise<Place> {
    const destinations = plan.role === "workload" ? plan.spec.destinations : [];
    const own = await freePorts(7);
    const forPorts = await freePorts(plan.spec.ports.length * 2);
    const forDestinations = await freePorts(destinations.length);
    const [admin = 0, outbound = 0, inbound = 0, mergedMetrics = 0, ready = 0, dns = 0] = own;
    const metrics = own[6] ?? 0;
    const ports = plan.spec.ports.map((port, index): InstancePort => {
      const appPort = forPorts[index * 2] ?? 0;
      const ownPort = forPorts[index * 2 + 1] ?? 0;
      const key = gatewayPortKey(plan.spec, port.port);
      const hostPort = (): number | undefined =>
        plan.role === "gateway" ? this.#hostPorts.get(key) : undefined;
      return {
        port: "targetPort" in port ? port.targetPort : port.port,
        protocol: port.protocol,
        appAddress: loopback,
        appPort,
        endpointAddress: loopback,
        get endpointPort() {
          return hostPort() ?? ownPort;
        },
      };
    });
    const localDestinations = destinations.map((destination, index): LocalDestination => ({
      hostname: serviceHostname(destination.service, plan.spec.namespace, clusterDomain),
      port: destination.port,
      localPort: forDestinations[index] ?? 0,
    }));
    const sidecarPorts = { admin, outbound, inbound, mergedMetrics, ready, dns, metrics };
    return new ExplicitPlace(plan, sidecarPorts, ports, localDestinations);
  }

  async open({ key, name, hostAddress, hostPort }: GatewayTarget): Promise<OpenHostPort> {
    const chosen = this.#chosen.get(key);
    this.#chosen.delete(key);
    const isChosen = chosen !== undefined && (hostPort === 0 || hostPort === chosen);
    const port = isChosen
      ? chosen
      : await this.#findFree(name, { address: hostAddress, port: hostPort });
    this.#hostPorts.set(key, port);
    return {
      port,
      close: () => {
        if (this.#hostPorts.get(key) === port) this.#hostPorts.delete(key);
      },
    };
  }

  async #findFree(name: string, wanted: SocketAddress): Promise<number> {
    const { server, address } = await this.#options.openOnHost(`gateway ${name}`, wanted);
    await closed(server);
    return address.port;
  }

  serviceAddresses(): readonly string[] {
    return [];
  }

  async follow(): Promise<void> {
    // Nothing is captured.
  }

  async close(): Promise<void> {
    // Nothing was made but processes.
  }
}

class ExplicitPlace implements Place {
  readonly addresses = [loopback];
  readonly capture: Place["capture"];
  readonly sidecarPorts: SidecarPorts;
  readonly statusAddress: string = loopback;
  readonly socketMark = undefined;
  readonly ports: readonly InstancePort[];
  readonly localDestinations: readonly LocalDestination[];

  constructor(
    plan: InstancePlan,
    sidecarPorts: SidecarPorts,
    ports: readonly InstancePort[],
    localDestinations: readonly LocalDestination[],
  ) {
    this.capture = plan.role === "gateway" ? "gateway" : "explicit";
    this.sidecarPorts = sidecarPorts;
    this.ports = ports;
    this.localDestinations = localDestinations;
  }

  sidecar(spec: ProcessSpec): ProcessSpec {
    return spec;
  }

  application(spec: ProcessSpec): ProcessSpec {
    return spec;
  }

  signalApplication(pid: number, signal: NodeJS.Signals): void {
    signalGroup(pid, signal);
  }

  async isListening(port: number): Promise<boolean> {
    return await isOpen({ address: loopback, port });
  }

  async close(): Promise<void> {
    // Nothing was made but processes.
  }
}

async function closed(server: Server): Promise<void> {
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
}
