import type { Clock } from "../base/clock.ts";
import type {
  GrpcCall,
  GrpcMethod,
  GrpcServerStream,
  GrpcStreamHandler,
} from "../net/grpc-server.ts";
import { GrpcError } from "../net/grpc.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Node } from "../wire/gen/ts/envoy/config/core/v3/base.ts";
import { grpcStatus } from "../wire/grpc.ts";
import { typeUrls } from "./feed.ts";
import { ServerConnection } from "./server/connection.ts";
import type { XdsVariant } from "./server/publisher.ts";
import { type ServedProxy, StatusBoard } from "./server/status.ts";
import { type EncodedResource, resourcesOf, type Snapshot } from "./snapshot.ts";

/**
 * Serves snapshots over the aggregated discovery service, both variants, and over the secret
 * discovery service, which Envoy asks with a stream of its own. A proxy has one snapshot, whatever
 * its streams; its newest stream counts for the status.
 */
export interface AdsServerOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly events?: AdsServerEvents;
  /** How long listeners and routes wait for the endpoints of new clusters; 5 s. */
  readonly warmingTimeoutMs?: number;
  readonly streamsMax?: number;
}

/**
 * Says whose stream this is: asked when it opens, from the call's headers alone, and again with the
 * first request's node. Throws `GrpcError` (unauthenticated, permission denied) to refuse.
 */
export type Authenticate = (call: GrpcCall, node: Node | undefined) => string;

export interface AdsServerEvents {
  /** The proxy's first stream, with its node; a snapshot may be set now or later. */
  onConnect?(proxyId: string, node: Node): void;
  /** Its last stream is gone. */
  onDisconnect?(proxyId: string, reason: string | undefined): void;
  /** What the proxy wants of a type changed. */
  onWish?(proxyId: string, typeUrl: string, wish: "*" | ReadonlySet<string>): void;
  onSent?(proxyId: string, typeUrl: string, bytes: number): void;
  onAnswer?(proxyId: string, answer: ProxyAnswer): void;
}

export type ProxyAnswer =
  | {
      readonly kind: "acked";
      readonly typeUrl: string;
      readonly version: string;
      /** What the response held. */
      readonly resources: readonly EncodedResource[];
    }
  | {
      readonly kind: "refused";
      readonly typeUrl: string;
      readonly version: string;
      /** Those the reason names; empty when it does not tell. */
      readonly resources: readonly EncodedResource[];
      readonly reason: string;
    };

const variants: readonly (readonly [path: string, variant: XdsVariant])[] = [
  ["/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources", "delta"],
  ["/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources", "sotw"],
  ["/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets", "delta"],
  ["/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets", "sotw"],
];

const defaultStreamsMax = 8192;
const defaultWarmingTimeoutMs = 5000;

export class AdsServer {
  readonly #options: AdsServerOptions;
  readonly #snapshots = new Map<string, Snapshot>();
  readonly #connections = new Map<string, Set<ServerConnection>>();
  readonly #board: StatusBoard;
  #streams = 0;

  constructor(options: AdsServerOptions) {
    this.#options = options;
    this.#board = new StatusBoard(options.clock);
  }

  /** To be served by any number of gRPC servers, each with its own way to tell proxies apart. */
  methods(authenticate: Authenticate): readonly GrpcMethod[] {
    return variants.map(([path, variant]) => ({
      kind: "stream",
      path,
      open: (stream) => this.#open(stream, variant, authenticate),
    }));
  }

  /** Serves `snapshot` to this proxy from now on, also when it connects later. */
  setSnapshot(proxyId: string, snapshot: Snapshot): void {
    this.#snapshots.set(proxyId, snapshot);
    for (const connection of this.#connections.get(proxyId) ?? []) connection.setSnapshot(snapshot);
  }

  snapshot(proxyId: string): Snapshot | undefined {
    return this.#snapshots.get(proxyId);
  }

  /** Forgets a proxy that no longer exists and ends its streams. */
  remove(proxyId: string): void {
    this.#snapshots.delete(proxyId);
    for (const connection of this.#connections.get(proxyId) ?? []) {
      connection.end(new GrpcError(grpcStatus.permissionDenied, "the workload instance is gone"));
    }
    this.#board.remove(proxyId);
  }

  get connectedProxies(): readonly string[] {
    return [...this.#connections.keys()];
  }

  status(proxyId: string): ServedProxy | undefined {
    const newest = [...(this.#connections.get(proxyId) ?? [])].at(-1);
    return this.#board.read(proxyId, newest, this.#snapshots.get(proxyId));
  }

  /**
   * Whether the proxy is connected and has answered for all of its snapshot: what it asked for, and
   * what it must still ask for (the routes of its listeners, the endpoints of its clusters).
   */
  isSynced(proxyId: string): boolean {
    const connections = [...(this.#connections.get(proxyId) ?? [])];
    const snapshot = this.#snapshots.get(proxyId);
    if (connections.length === 0 || snapshot === undefined) return false;
    if (!connections.every((connection) => connection.isSettled)) return false;
    const isAnswered = (typeUrl: string, name: string): boolean =>
      connections.some((connection) => connection.isAnswered(typeUrl, name));
    const refused = new Set(
      this.status(proxyId)?.types.flatMap(({ refusal }) => refusal?.resources ?? []),
    );
    return everyResource(snapshot, refused, isAnswered);
  }

  #open(
    stream: GrpcServerStream,
    variant: XdsVariant,
    authenticate: Authenticate,
  ): GrpcStreamHandler {
    const streamsMax = this.#options.streamsMax ?? defaultStreamsMax;
    if (this.#streams >= streamsMax) {
      throw new GrpcError(grpcStatus.resourceExhausted, `${streamsMax} streams are open already`);
    }
    const { clock, log, events = {} } = this.#options;
    const connection = new ServerConnection({
      stream,
      variant,
      clock,
      log,
      warmingTimeoutMs: this.#options.warmingTimeoutMs ?? defaultWarmingTimeoutMs,
      identify: (node) => authenticate(stream, node),
      onIdentified: (node) => this.#onIdentified(connection, node),
      onWish: (typeUrl) => events.onWish?.(connection.proxyId, typeUrl, connection.wish(typeUrl)),
      onSent: (outgoing) => {
        this.#board.sent(connection.proxyId, outgoing);
        events.onSent?.(connection.proxyId, outgoing.typeUrl, outgoing.message.length);
      },
      onAnswer: (answer) => {
        this.#board.answered(connection.proxyId, answer);
        events.onAnswer?.(connection.proxyId, answer);
      },
      onClose: (reason) => this.#onClose(connection, reason),
    });
    this.#streams += 1; // after what may refuse: then `onClose` is not called
    return connection;
  }

  #onIdentified(connection: ServerConnection, node: Node): void {
    const { proxyId } = connection;
    const others = this.#connections.get(proxyId);
    this.#connections.set(proxyId, new Set([...(others ?? []), connection]));
    this.#board.connected(proxyId);
    if (others === undefined) this.#options.events?.onConnect?.(proxyId, node);
    const snapshot = this.#snapshots.get(proxyId);
    if (snapshot !== undefined) connection.setSnapshot(snapshot);
  }

  #onClose(connection: ServerConnection, reason: string | undefined): void {
    this.#streams -= 1;
    const { proxyId } = connection;
    const connections = this.#connections.get(proxyId);
    if (connections?.delete(connection) !== true || connections.size > 0) return;
    this.#connections.delete(proxyId);
    this.#board.disconnected(proxyId, reason);
    this.#options.events?.onDisconnect?.(proxyId, reason);
  }
}

/** Wildcard types that every proxy asks for, and what their resources make it ask for. */
const expected: readonly (readonly [typeUrl: string, dependent: string])[] = [
  [typeUrls.cluster, typeUrls.endpoint],
  [typeUrls.listener, typeUrls.route],
];

function everyResource(
  snapshot: Snapshot,
  refused: ReadonlySet<EncodedResource>,
  isAnswered: (typeUrl: string, name: string) => boolean,
): boolean {
  for (const [typeUrl, dependent] of expected) {
    const dependents = resourcesOf(snapshot, dependent);
    for (const resource of resourcesOf(snapshot, typeUrl).values()) {
      if (refused.has(resource)) continue;
      if (!isAnswered(typeUrl, resource.name)) return false;
      const waits = resource.references.some(
        (name) => dependents.has(name) && !isAnswered(dependent, name),
      );
      if (waits) return false;
    }
  }
  return true;
}

export type { ServedProxy, ServedType } from "./server/status.ts";
