/**
 * What stands beside a proxy, in its process or next to Envoy: identity, configuration with a copy
 * on disk, status ports, admin. It decides nothing about traffic.
 *
 * Order: `openAgent()` → the data plane is made from `feed`, `secrets` and `peers` → `serve()`.
 */
import { readFileSync } from "node:fs";

import type { Clock } from "../base/clock.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import type { SidecarOptions } from "../base/sidecar-options.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import { controlPlaneServerName } from "../identity/authority.ts";
import { requestCertificate } from "../identity/certificate-client.ts";
import { openGrpcChannel, type GrpcChannel } from "../net/grpc-client.ts";
import { defaultGrpcKeepalive } from "../net/grpc.ts";
import type { HttpListener } from "../net/http-listener.ts";
import { requestHttp } from "../net/http-request.ts";
import { markedDial } from "../net/marked-dial.ts";
import type { SecretSource } from "../net/secret-source.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { OwnedMetricRegistry } from "../telemetry/metric-registry.ts";
import type { PeerDirectory } from "../telemetry/standard-metrics.ts";
import { NameTable } from "../wire/gen/ts/dns/proto/nds.ts";
import { AdsClient } from "../xds/ads-client.ts";
import { typeUrls, type XdsFeed, type XdsUpdate } from "../xds/feed.ts";
import { readOnlyAdmin, serveAdmin, type AdminHandler } from "./admin.ts";
import { withAgentStatus, type AgentStatus } from "./agent-status.ts";
import { IdentityKeeper } from "./identity/identity-keeper.ts";
import { FileSecrets } from "./io/file-secrets.ts";
import { openStateFiles, type StateFiles } from "./io/state-files.ts";
import { PeerTable } from "./peer-table.ts";
import { mergedMetrics } from "./status/merged-metrics.ts";
import {
  startStatusServers,
  type StatusServers,
  type StatusServersOptions,
} from "./status/status-servers.ts";
import { AgentFeed } from "./xds/agent-feed.ts";
import { nodeOf } from "./xds/node.ts";
import { SnapshotStore } from "./xds/snapshot-store.ts";
import { streamMetrics } from "./xds/stream-metrics.ts";

export interface AgentOptions {
  readonly sidecar: SidecarOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: OwnedMetricRegistry;
  /** Uniform in [0, 1). */
  readonly random: () => number;
  /** The names of the mesh, whole, whenever they change. */
  readonly onNames?: (names: ReadonlyMap<string, MeshName>) => void;
}

/** Addresses of one hostname. */
export interface MeshName {
  readonly ipv4: readonly string[];
  readonly ipv6: readonly string[];
}

/** The data plane as its agent needs it. */
export interface ServedDataPlane {
  /** Why it cannot serve yet, in one sentence; undefined when it can. */
  notReady(): Promise<string | undefined> | string | undefined;
  /** Prometheus text of the proxy, Istio's names included. */
  exposeMetrics(): Promise<string> | string;
  /** The same in pieces, where it is to be had so. */
  readonly metricPieces?: () => Iterable<string>;
  /** The same as Prometheus's protobuf, with native histograms, where the data plane has them. */
  exposeProtobuf?(): Promise<Uint8Array> | Uint8Array;
  readonly admin: AdminHandler;
}

export interface Agent {
  readonly feed: XdsFeed;
  readonly secrets: SecretSource;
  readonly peers: PeerDirectory;
  readonly files: StateFiles;
  /** Opens the status ports and the admin sockets. Throws when a port is in use. */
  serve(plane: ServedDataPlane): Promise<StatusServers["ports"]>;
  /** From now on the ready port says that it is draining. */
  startDraining(): void;
  close(): Promise<void>;
}

/** Connects to the control plane and keeps trying; throws only for options that cannot work. */
export function openAgent(options: AgentOptions): Agent {
  const { sidecar, clock, log, metrics } = options;
  const files = openStateFiles(sidecar.stateDir);
  const channel = openChannel(options);
  const metadata = (): Record<string, string> => ({
    authorization: `Bearer ${readFileSync(sidecar.control.tokenFile, "utf8").trim()}`,
  });
  const { namespace, serviceAccount } = sidecar.instance;
  const identity = new IdentityKeeper({
    files,
    spiffeId: `spiffe://${sidecar.trustDomain}/ns/${namespace}/sa/${serviceAccount}`,
    request: () =>
      requestCertificate({
        channel,
        metadata,
        instance: `${sidecar.instance.name}.${sidecar.instance.namespace}`,
        rootPem: readFileSync(sidecar.control.rootFile, "utf8"),
      }),
    clock,
    log: log.area("identity"),
    metrics,
    random: options.random,
  });
  const store = new SnapshotStore({ files, clock, log: log.area("xds"), nodeId: sidecar.nodeId });
  const streams = streamMetrics(metrics, clock);
  let wasConnected = false;
  const client = new AdsClient({
    channel,
    serverName: sidecar.control.address,
    node: nodeOf(sidecar),
    metadata,
    clock,
    log: log.area("xds"),
    random: options.random,
    onStatus: (status) => {
      if (streams.onStatus(status) === "lost") store.confirm();
      const isConnected = status.stream.kind === "connected";
      if (isConnected && !wasConnected) identity.hurry();
      wasConnected = isConnected;
    },
    requestsWhileApplying: sidecar.dataPlane === "envoy",
  });
  const peers = new PeerTable();
  const names = new NameRows(options.onNames ?? (() => {}));
  const feed = new AgentFeed({
    upstream: client,
    store,
    log: log.area("xds"),
    own: new Map<string, (update: XdsUpdate) => void>([
      [typeUrls.peer, (update) => peers.apply(update)],
      [typeUrls.nameTable, (update) => names.apply(update)],
    ]),
  });
  metrics.onExpose(() => {
    identity.refreshMetrics();
    streams.refresh(client.status, store.confirmedAtMs);
  });
  feed.start();
  identity.start();
  client.start();
  return new RunningAgent(options, { files, channel, identity, store, client, feed, peers });
}

interface AgentParts {
  readonly files: StateFiles;
  readonly channel: GrpcChannel;
  readonly identity: IdentityKeeper;
  readonly store: SnapshotStore;
  readonly client: AdsClient;
  readonly feed: AgentFeed;
  readonly peers: PeerTable;
}

class RunningAgent implements Agent {
  readonly feed: XdsFeed;
  readonly secrets: SecretSource;
  readonly peers: PeerDirectory;
  readonly files: StateFiles;
  readonly #options: AgentOptions;
  readonly #parts: AgentParts;
  readonly #fileSecrets: FileSecrets;
  #status: StatusServers | undefined;
  readonly #listeners: HttpListener[] = [];
  #isDraining = false;
  #wasReady = false;

  constructor(options: AgentOptions, parts: AgentParts) {
    this.#options = options;
    this.#parts = parts;
    this.feed = parts.feed;
    this.#fileSecrets = new FileSecrets({
      clock: options.clock,
      log: options.log.area("secrets"),
      metrics: options.metrics,
      others: parts.identity,
    });
    this.secrets = this.#fileSecrets;
    this.peers = parts.peers;
    this.files = parts.files;
  }

  async serve(plane: ServedDataPlane): Promise<StatusServers["ports"]> {
    const { sidecar, log } = this.#options;
    const adminLog = log.area("admin");
    this.#status = await startStatusServers({
      address: sidecar.statusAddress,
      ports: sidecar.ports,
      notReady: () => this.#notReady(plane),
      metrics: () => plane.exposeMetrics(),
      ...(plane.metricPieces === undefined ? {} : { metricPieces: plane.metricPieces }),
      ...(plane.exposeProtobuf === undefined
        ? {}
        : { protobuf: () => plane.exposeProtobuf?.() ?? new Uint8Array(0) }),
      ...this.#mergedMetrics(plane),
      log: log.area("status"),
    });
    const socketPath = this.files.path("admin.sock");
    const admin = withAgentStatus(plane.admin, {
      status: () => this.#agentStatus(plane),
      metrics: () => plane.exposeMetrics(),
    });
    this.#listeners.push(await serveAdmin({ socketPath }, admin, adminLog));
    const loopback = { address: "127.0.0.1", port: sidecar.ports.admin };
    this.#listeners.push(await serveAdmin(loopback, readOnlyAdmin(plane.admin), adminLog));
    return this.#status.ports;
  }

  #mergedMetrics(plane: ServedDataPlane): Pick<StatusServersOptions, "mergedMetrics"> {
    const { sidecar, log, metrics } = this.#options;
    const { applicationMetricsUrl: applicationUrl } = sidecar;
    if (applicationUrl === undefined) return {};
    const merged = mergedMetrics({
      proxy: () => plane.exposeMetrics(),
      applicationUrl,
      requestHttp,
      metrics,
      log: log.area("status"),
    });
    return { mergedMetrics: merged };
  }

  startDraining(): void {
    this.#isDraining = true;
  }

  async close(): Promise<void> {
    const { client, identity, channel, store } = this.#parts;
    client.close();
    identity.close();
    this.#fileSecrets.close();
    channel.close();
    store.save();
    await this.#status?.close();
    await Promise.all(this.#listeners.map((listener) => listener.close()));
  }

  async #agentStatus(plane: ServedDataPlane): Promise<AgentStatus> {
    const { client, store, identity } = this.#parts;
    const { name, namespace } = this.#options.sidecar.instance;
    const { stream } = client.status;
    const isConnected = stream.kind === "connected";
    const confirmedAtMs = isConnected ? this.#options.clock.nowMs() : store.confirmedAtMs;
    const [notReady, certificateNotAfterMs] = [await this.#notReady(plane), identity.notAfterMs];
    return {
      instance: `${name}.${namespace}`,
      dataPlane: this.#options.sidecar.dataPlane,
      ...(notReady === undefined ? {} : { notReady }),
      stream,
      ...(confirmedAtMs === undefined ? {} : { confirmedAtMs }),
      ...(store.acceptedAtMs === undefined ? {} : { acceptedAtMs: store.acceptedAtMs }),
      ...(certificateNotAfterMs === undefined ? {} : { certificateNotAfterMs }),
    };
  }

  async #notReady(plane: ServedDataPlane): Promise<string | undefined> {
    if (this.#isDraining) return "draining";
    // An expired certificate later on is an alert; plain traffic goes on, so it stays an endpoint.
    const identityMissing = this.#wasReady ? undefined : this.#parts.identity.missing;
    const reason = identityMissing ?? (await plane.notReady());
    if (reason === undefined) this.#wasReady = true;
    return reason;
  }
}

function openChannel({ sidecar, clock }: AgentOptions): GrpcChannel {
  return openGrpcChannel({
    target: parseSocketAddress(sidecar.control.address),
    tls: () => ({
      roots: readFileSync(sidecar.control.rootFile, "utf8"),
      serverName: controlPlaneServerName,
    }),
    keepalive: defaultGrpcKeepalive,
    clock,
    dial: markedDial(sidecar.socketMark),
  });
}

/** `198.18.0.1:15012`, `[fd48::1]:15012`; throws `agent.options` for anything else. */
export function parseSocketAddress(text: string): SocketAddress {
  const parsed = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]+)):(\d{1,5})$/.exec(text);
  const address = parsed?.[1] ?? parsed?.[2];
  if (address === undefined) {
    throw new HeddleError("agent.options", `${text} is not ADDRESS:PORT`);
  }
  return { address, port: Number(parsed?.[3]) };
}

/** Rows of the name table come in any number of resources; who answers DNS gets the whole. */
class NameRows {
  readonly #tables = new Map<string, NameTable>();
  readonly #onNames: (names: ReadonlyMap<string, MeshName>) => void;

  constructor(onNames: (names: ReadonlyMap<string, MeshName>) => void) {
    this.#onNames = onNames;
  }

  apply({ resources, removed }: XdsUpdate): void {
    let decoded: (readonly [string, NameTable])[];
    try {
      decoded = resources.map(({ name, bytes }) => [name, NameTable.decode(bytes)]);
    } catch (thrown) {
      throw new HeddleError("agent.names", `a name table is malformed: ${messageOf(thrown)}`);
    }
    for (const name of removed) this.#tables.delete(name);
    for (const [name, table] of decoded) this.#tables.set(name, table);
    const names = new Map<string, MeshName>();
    for (const { table } of this.#tables.values()) {
      for (const [hostname, { ips }] of Object.entries(table)) {
        names.set(hostname, {
          ipv4: ips.filter((ip) => !ip.includes(":")),
          ipv6: ips.filter((ip) => ip.includes(":")),
        });
      }
    }
    this.#onNames(names);
  }
}
