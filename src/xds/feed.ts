/**
 * Where a data plane gets its configuration from: the seam between the proxy and whoever speaks xDS
 * for it (the ADS client, the agent that answers secrets and remembers the last snapshot, a file).
 */
export interface XdsFeed {
  /**
   * Sets what is wanted of one type: every resource (`"*"`, listeners and clusters) or these names.
   * Replaces the earlier wish for the type.
   */
  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void;
  /**
   * Asks once more for a resource that was refused and can be accepted by now, so that whoever sent
   * it learns so. Where the protocol knows no such request, the refusal stands until the next update.
   */
  refresh?(typeUrl: string, name: string): void;
  /**
   * Tells which secrets the resources of now name, and where they say that these come from: for a
   * feed that is also where secrets come from. Replaces the earlier wish.
   */
  wantSecrets?(secrets: ReadonlyMap<string, SecretOrigin>): void;
  /** Set once, before the first `subscribe`. */
  onUpdate: (update: XdsUpdate) => void;
}

/** One accepted-or-refused unit, as an xDS response is. */
export interface XdsUpdate {
  readonly typeUrl: string;
  /** Of the answer; absent where nobody has answered: what stands in a file of the proxy's own, or what went unanswered. */
  readonly version?: string;
  readonly resources: readonly XdsResource[];
  /** Names that no longer exist; for a state-of-the-world source, what the answer left out. */
  readonly removed: readonly string[];
  /** Names that the answer held as they are already. */
  readonly unchanged?: readonly string[];
  /** More of this type is on its way: what is missing by now may still come. */
  readonly isInterim?: true;
  /** Call exactly once: without an argument it acknowledges, with a reason it refuses (NACK). */
  respond(refusal?: string): void;
}

/** `unsaid`: by name alone, from wherever the proxy has its secrets. */
export type SecretOrigin =
  | { readonly kind: "unsaid" | "ads" }
  | { readonly kind: "service"; readonly cluster: string }
  | { readonly kind: "file"; readonly path: string };

export interface XdsResource {
  readonly name: string;
  readonly version: string;
  /** The encoded message, without the Any around it. */
  readonly bytes: Uint8Array;
}

export const typeUrls = {
  listener: "type.googleapis.com/envoy.config.listener.v3.Listener",
  route: "type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
  cluster: "type.googleapis.com/envoy.config.cluster.v3.Cluster",
  endpoint: "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
  /** Configurations of filters that listeners name. */
  extension: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
  secret: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
  nameTable: "type.googleapis.com/istio.networking.nds.v1.NameTable",
  /** Who a certificate subject is, see docs/decisions/0003-standard-metrics.md; for agents only. */
  peer: "type.googleapis.com/heddle.peer.v1.Peer",
} as const;
