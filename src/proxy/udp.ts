/**
 * Runs listeners of UDP: a socket for each address, sessions behind it (`udp/udp-sessions.ts`), changes of
 * configuration while they go on. Data workers take no datagrams: the thread that made them does.
 */
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import { type DatagramSocket, openDatagramPeer, openDatagrams } from "../net/datagrams.ts";
import { BoundedLog } from "../telemetry/bounded-log.ts";
import type { Listener } from "../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { ProxyContext } from "./context.ts";
import type { PreparedListener } from "./preparation.ts";
import { createUdpCounters } from "./udp/udp-counters.ts";
import { planUdpListener, type UdpPlan } from "./udp/udp-plan.ts";
import { UdpSessions, type UdpSettings } from "./udp/udp-sessions.ts";

export { isUdpListener, planUdpListener } from "./udp/udp-plan.ts";

interface Port {
  readonly socket: Pick<DatagramSocket, "address" | "close">;
  readonly sessions: UdpSessions;
}

type Ports = Map<string, Port>;

const linesPerSecond = 10;

export class UdpListeners {
  readonly #context: ProxyContext;
  readonly #log: BoundedLog;
  readonly #running = new Map<string, Ports>();

  constructor(context: ProxyContext) {
    this.#context = context;
    const { clock } = context;
    const log = context.log.area("udp");
    this.#log = new BoundedLog({ clock, log, linesPerSecond });
  }

  /** Throws a refusal. */
  prepare(listener: Listener): PreparedListener {
    const plan = planUdpListener(listener, { count: 0 });
    const settings: UdpSettings = {
      ...plan,
      sink: this.#context.sinkFor(plan.config.accessLog, plan.statPrefix),
    };
    const opened: Ports = new Map();
    let isDiscarded = false;
    const discard = (): void => {
      isDiscarded = true;
      closeAll(opened);
    };
    return {
      open: () => {
        const known = this.#running.get(plan.name);
        const missing = keysOf(plan).filter(([key]) => known?.has(key) !== true);
        const { datagrams } = this.#context;
        const isServed = plan.isCaptured
          ? datagrams?.capture !== undefined
          : datagrams !== undefined;
        if (missing.length === 0 || !isServed) return undefined;
        return this.#open({ plan, settings }, missing, opened).then(() => {
          if (isDiscarded) discard();
        });
      },
      start: () => this.#start(plan, settings, opened),
      discard,
    };
  }

  remove(name: string): void {
    const ports = this.#running.get(name);
    this.#running.delete(name);
    if (ports !== undefined) closeAll(ports);
  }

  bound(): readonly { readonly name: string; readonly address: SocketAddress }[] {
    return [...this.#running].flatMap(([name, ports]) =>
      [...ports.values()].map(({ socket }) => ({ name, address: socket.address })),
    );
  }

  close(): void {
    this.#log.close();
    for (const name of this.#running.keys()) this.remove(name);
  }

  async #open(
    { plan, settings }: { readonly plan: UdpPlan; readonly settings: UdpSettings },
    missing: readonly (readonly [string, SocketAddress])[],
    opened: Ports,
  ): Promise<void> {
    const { clock, clusters, metrics, overload, datagrams } = this.#context;
    const counters = createUdpCounters(metrics, plan.statPrefix);
    for (const [key, address] of missing) {
      const openPeer: ConstructorParameters<typeof UdpSessions>[0]["openPeer"] = (options) =>
        openDatagramPeer({ ...options, mark: datagrams?.mark });
      const log = this.#log;
      const services = { clock, clusters, overload, counters, openPeer, log };
      const sessions = new UdpSessions(services, settings, address);
      const socket = await openDatagrams({
        address: plan.isCaptured ? loopbackFor(address) : address,
        isTransparent: plan.isTransparent && !plan.isCaptured,
        onDatagram: (bytes, from) => sessions.receive(bytes, from),
        onError: () => counters.receiveErrors.add(),
      });
      sessions.use(socket);
      opened.set(key, { socket, sessions });
      if (plan.isCaptured) opened.set(key, await this.#capture(address, { socket, sessions }));
    }
  }

  async #capture(service: SocketAddress, { socket, sessions }: Port): Promise<Port> {
    const capture = this.#context.datagrams?.capture;
    const { port } = socket.address;
    await capture?.add(service, port);
    const close = async (): Promise<void> => {
      // What is not told any more finds nobody, and is refused.
      await capture?.remove(service, port).catch(() => {});
      await socket.close();
    };
    return { socket: { address: service, close }, sessions };
  }

  #start(plan: UdpPlan, settings: UdpSettings, opened: Ports): void {
    const before = this.#running.get(plan.name);
    const ports: Ports = new Map();
    for (const [key] of keysOf(plan)) {
      const port = before?.get(key) ?? opened.get(key);
      if (port === undefined) continue;
      port.sessions.follow(settings);
      ports.set(key, port);
    }
    this.#running.set(plan.name, ports);
    for (const [key, port] of before ?? []) if (ports.get(key) !== port) closePort(port);
  }
}

/** Any port; the kernel's choice does not collide with what others have bound. */
function loopbackFor({ address }: SocketAddress): SocketAddress {
  return { address: address.includes(":") ? "::1" : "127.0.0.1", port: 0 };
}

function keysOf(plan: UdpPlan): readonly (readonly [string, SocketAddress])[] {
  return plan.addresses.map((address) => [
    `${formatSocketAddress(address)} ${plan.isTransparent} ${plan.isCaptured} ${plan.statPrefix}`,
    address,
  ]);
}

function closeAll(ports: Ports): void {
  for (const port of ports.values()) closePort(port);
  ports.clear();
}

function closePort({ socket, sessions }: Port): void {
  void socket.close();
  sessions.close();
}
