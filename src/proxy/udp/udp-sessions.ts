/**
 * Sessions of one UDP listener: the first datagram of a client's address and port chooses an endpoint, which
 * the others go to until the session was idle for too long, its endpoint is gone, or the kernel says that
 * nobody is there. Datagrams are never put in another order, never joined and never split. The table is
 * bounded; what finds no place is counted and lost, as the network might lose it.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { messageOf } from "../../base/error.ts";
import type { DatagramPeer, DatagramPeerOptions, DatagramSocket } from "../../net/datagrams.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { RequestSink } from "../../telemetry/request-record.ts";
import type { ClusterSource, ProxyContext, UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import type { ConnectionView } from "../engine/request.ts";
import { Hash64 } from "../engine/xx-hash.ts";
import { servingCluster } from "../serving-cluster.ts";
import type { UdpCounters } from "./udp-counters.ts";
import { UdpRecord } from "./udp-record.ts";

export interface UdpSettings {
  readonly cluster: string;
  readonly idleTimeoutMs: number;
  /** A client's address leads to the same endpoint each time. */
  readonly hashes: boolean;
  readonly direction: UdpRecord["direction"];
  readonly sink: RequestSink;
}

export interface UdpServices {
  readonly clock: Clock;
  readonly log: Pick<Logger, "warn">;
  readonly clusters: ClusterSource;
  readonly counters: UdpCounters;
  readonly overload: ProxyContext["overload"];
  readonly openPeer: (options: Omit<DatagramPeerOptions, "mark">) => DatagramPeer;
}

/** Of one listener; each is a socket. */
const sessionsMax = 16_384;
const tickMs = 1000;
/**
 * What becomes of one datagram says nothing of an endpoint: it was too long for the way, which a router has told
 * (ICMP, as whoever looks for the longest that passes wants to know), or this machine had no memory for it.
 */
const datagramLosses: ReadonlySet<string> = new Set(["EMSGSIZE", "ENOBUFS", "ENOMEM", "EAGAIN"]);
/** What was counted is told so often, a part of the sessions with each tick. */
const ticksPerReport = 5;

interface Session {
  readonly key: string;
  readonly number: number;
  readonly client: SocketAddress;
  readonly cluster: UpstreamCluster;
  readonly endpoint: UpstreamEndpoint;
  readonly record: UdpRecord;
  peer: DatagramPeer | undefined;
  lastActiveMs: number;
  hasAnswered: boolean;
  /** Told to the sink already. */
  told: Traffic;
}

interface Chosen {
  readonly connection: ConnectionView;
  readonly cluster: UpstreamCluster | undefined;
  readonly endpoint: UpstreamEndpoint | undefined;
}

interface Traffic {
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly datagramsReceived: number;
  readonly datagramsSent: number;
}

const none: Traffic = { bytesReceived: 0, bytesSent: 0, datagramsReceived: 0, datagramsSent: 0 };

export class UdpSessions {
  readonly #services: UdpServices;
  readonly #local: SocketAddress;
  readonly #sessions = new Map<string, Session>();
  #settings: UdpSettings;
  #socket: Pick<DatagramSocket, "send"> | undefined;
  #timer: Timer | undefined;
  #tick = 0;
  #made = 0;

  constructor(services: UdpServices, settings: UdpSettings, local: SocketAddress) {
    this.#services = services;
    this.#settings = settings;
    this.#local = local;
  }

  get size(): number {
    return this.#sessions.size;
  }

  /** Where answers go out. */
  use(socket: Pick<DatagramSocket, "send">): void {
    this.#socket = socket;
  }

  /** Sessions that have begun go on where they are, unless they lead to another cluster. */
  follow(settings: UdpSettings): void {
    const isSame = this.#settings.cluster === settings.cluster;
    this.#settings = settings;
    if (!isSame) this.#endAll("");
  }

  receive(bytes: Buffer, client: SocketAddress): void {
    const { counters, clock } = this.#services;
    counters.receivedDatagrams.add();
    counters.receivedBytes.add(bytes.length);
    const key = `${client.address} ${client.port}`;
    let session = this.#sessions.get(key);
    // Its endpoint has been taken away: who speaks on is served by another.
    if (session?.endpoint.isRemoved === true) {
      this.#end(session, "");
      session = undefined;
    } else if (session?.cluster.isWell?.(session.endpoint) === false) {
      session = this.#moved(session);
    }
    session ??= this.#open(key, client);
    if (session === undefined) return;
    session.lastActiveMs = clock.monotonicMs();
    session.record.bytesReceived += bytes.length;
    session.record.datagramsReceived += 1;
    if (session.peer?.send(bytes) !== true) counters.dropped.add();
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#endAll("");
  }

  /** To an endpoint that is well, where there is one; it goes on where it is otherwise, as in Envoy. */
  #moved(session: Session): Session | undefined {
    const chosen = this.#choose(session.client);
    const { cluster, endpoint } = chosen;
    const isOther = endpoint !== undefined && endpoint !== session.endpoint;
    if (!isOther || cluster?.isWell?.(endpoint) === false) return session;
    this.#end(session, "");
    return this.#open(session.key, session.client, chosen);
  }

  #choose(client: SocketAddress): Chosen {
    const { cluster: name, hashes } = this.#settings;
    const connection = viewOf(client, this.#local);
    const hash = hashes ? bits.ofText(client.address) : undefined;
    const choice = { connection, hash, avoid: undefined };
    const cluster = servingCluster(this.#services.clusters.get(name), choice);
    return { connection, cluster, endpoint: cluster?.pick(choice) };
  }

  #open(key: string, client: SocketAddress, chosen?: Chosen): Session | undefined {
    const { counters, overload } = this.#services;
    if (this.#sessions.size >= sessionsMax || overload?.refusesConnections === true) {
      counters.overflow.add();
      return undefined;
    }
    const { connection, cluster, endpoint } = chosen ?? this.#choose(client);
    if (cluster === undefined || endpoint === undefined) {
      counters.noRoute.add();
      this.#tellUnserved(connection, cluster);
      return undefined;
    }
    if (!cluster.limits.tryConnection()) {
      counters.overflow.add();
      return undefined;
    }
    const session = this.#sessionTo({ key, client, cluster, endpoint }, connection);
    try {
      session.peer = this.#openPeer(session);
    } catch (thrown) {
      cluster.limits.releaseConnection();
      this.#services.log.warn("no socket for a session of UDP", { reason: messageOf(thrown) });
      counters.overflow.add();
      return undefined;
    }
    endpoint.active += 1;
    counters.sessions.add();
    counters.addActive(1);
    cluster.counters.onConnectionOpened();
    this.#sessions.set(key, session);
    this.#schedule();
    return session;
  }

  #sessionTo(
    ends: Pick<Session, "key" | "client" | "cluster" | "endpoint">,
    connection: ConnectionView,
  ): Session {
    const { clock } = this.#services;
    const { cluster, endpoint } = ends;
    const record = this.#recordOf(connection, cluster);
    record.upstreamHost = endpoint.address;
    record.upstreamHostName = endpoint.hostname;
    record.upstreamMetadata = endpoint.metadata;
    record.upstreamAttempts = 1;
    return {
      ...ends,
      record,
      number: this.#made++,
      peer: undefined,
      lastActiveMs: clock.monotonicMs(),
      hasAnswered: false,
      told: none,
    };
  }

  #recordOf(connection: ConnectionView, cluster: UpstreamCluster | undefined): UdpRecord {
    const { clock } = this.#services;
    const record = new UdpRecord(this.#local, connection, this.#settings.direction);
    record.startMs = clock.nowMs();
    record.startMonotonicMs = clock.monotonicMs();
    record.upstreamCluster = this.#settings.cluster;
    record.clusterMetadata = cluster?.metadata;
    return record;
  }

  #tellUnserved(connection: ConnectionView, cluster: UpstreamCluster | undefined): void {
    const record = this.#recordOf(connection, cluster);
    record.responseFlags = cluster === undefined ? "NC" : "UH";
    this.#settings.sink.onEnd(record);
  }

  #openPeer(session: Session): DatagramPeer {
    return this.#services.openPeer({
      to: session.endpoint.address,
      onDatagram: (bytes) => this.#answer(session, bytes),
      onError: (code) => this.#onPeerError(session, code),
    });
  }

  #answer(session: Session, bytes: Buffer): void {
    const { counters, clock } = this.#services;
    const nowMs = clock.monotonicMs();
    session.lastActiveMs = nowMs;
    session.record.bytesSent += bytes.length;
    session.record.datagramsSent += 1;
    counters.sentBytes.add(bytes.length);
    counters.sentDatagrams.add();
    if (!session.hasAnswered) {
      session.hasAnswered = true;
      const durationMs = nowMs - session.record.startMonotonicMs;
      session.endpoint.report({ kind: "response", status: 200, durationMs });
    }
    if (this.#socket?.send(bytes, session.client) !== true) counters.dropped.add();
  }

  /** An ICMP error: the next datagram goes where the balancer says then. */
  #onPeerError(session: Session, code: string): void {
    if (this.#sessions.get(session.key) !== session) return;
    if (datagramLosses.has(code)) return this.#services.counters.dropped.add();
    session.cluster.counters.onConnectFailure();
    session.endpoint.report({ kind: "connect-failure" });
    session.record.upstreamTransportFailureReason = code;
    this.#end(session, "UF");
  }

  #end(session: Session, flag: string): void {
    if (!this.#sessions.delete(session.key)) return;
    const { counters, clock } = this.#services;
    session.peer?.close();
    session.endpoint.active -= 1;
    session.cluster.limits.releaseConnection();
    const lengthMs = clock.monotonicMs() - session.record.startMonotonicMs;
    session.cluster.counters.onConnectionClosed({ lengthMs, by: "local", isBusy: false });
    counters.addActive(-1);
    const { record } = session;
    this.#tell(session);
    record.responseFlags = flag;
    record.durationMs = clock.monotonicMs() - record.startMonotonicMs;
    this.#settings.sink.onEnd(record);
  }

  #endAll(flag: string): void {
    for (const session of this.#sessions.values()) this.#end(session, flag);
  }

  /** What was added since the last time. */
  #tell(session: Session): void {
    const { record, told } = session;
    const now: Traffic = {
      bytesReceived: record.bytesReceived,
      bytesSent: record.bytesSent,
      datagramsReceived: record.datagramsReceived,
      datagramsSent: record.datagramsSent,
    };
    const count = now.datagramsReceived + now.datagramsSent;
    if (count === told.datagramsReceived + told.datagramsSent) return;
    record.bytesReceived -= told.bytesReceived;
    record.bytesSent -= told.bytesSent;
    record.datagramsReceived -= told.datagramsReceived;
    record.datagramsSent -= told.datagramsSent;
    this.#settings.sink.onDatagrams?.(record);
    Object.assign(record, now);
    session.told = now;
  }

  #schedule(): void {
    this.#timer ??= this.#services.clock.schedule(tickMs, () => {
      this.#timer = undefined;
      this.#onTick();
      if (this.#sessions.size > 0) this.#schedule();
    });
  }

  #onTick(): void {
    const nowMs = this.#services.clock.monotonicMs();
    const { idleTimeoutMs } = this.#settings;
    this.#tick = (this.#tick + 1) % ticksPerReport;
    for (const session of this.#sessions.values()) {
      if (idleTimeoutMs > 0 && nowMs - session.lastActiveMs >= idleTimeoutMs) {
        this.#services.counters.idle.add();
        session.record.connectionTerminationDetails = "idle_timeout";
        this.#end(session, "");
      } else if (session.number % ticksPerReport === this.#tick) {
        this.#tell(session);
      }
    }
  }
}

const bits = new Hash64();

function viewOf(client: SocketAddress, local: SocketAddress): ConnectionView {
  return {
    sourceAddress: client.address,
    sourcePort: client.port,
    destinationAddress: local.address,
    destinationPort: local.port,
    isDestinationRestored: true,
    sni: undefined,
    alpn: undefined,
    isTls: false,
    peerUriSans: [],
  };
}
