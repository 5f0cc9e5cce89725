import type { SourcePosition } from "../base/problem.ts";

/**
 * What runs: the workloads of one mesh, as the place that runs them (one machine, Kubernetes) tells
 * the control plane. Services and endpoints are derived from these.
 */
export interface WorkloadSnapshot {
  /** Grows with every change; the control plane drops what is older than it has. */
  readonly revision: number;
  readonly services: readonly ServiceDeclaration[];
  readonly instances: readonly WorkloadInstance[];
}

/** A name that selects workloads; `<name>.<namespace>.svc.<domain>` resolves to `address`. */
export interface ServiceDeclaration {
  readonly name: string;
  readonly namespace: string;
  /** Virtual addresses, IPv4 first; empty in explicit mode, where names are not resolved. */
  readonly addresses: readonly string[];
  readonly ports: readonly ServicePort[];
  /** Instances whose labels include all of these, in the same namespace, are endpoints. */
  readonly selector: Readonly<Record<string, string>>;
}

export interface ServicePort {
  readonly name: string;
  readonly port: number;
  /** The port the application listens on. */
  readonly targetPort: number;
  readonly protocol: PortProtocol;
  /** Where its protocol is declared, or would be. */
  readonly source?: SourcePosition;
}

/** As Istio understands a port's `appProtocol` or name prefix; `auto` is detected from first bytes. */
export type PortProtocol = "http" | "http2" | "grpc" | "tcp" | "tls" | "https" | "udp" | "auto";

export interface WorkloadInstance {
  /** Unique in its namespace: `cart-0`. Also the subject of its certificate: `cart-0.default`. */
  readonly name: string;
  readonly workload: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly locality?: string;
  readonly role: "workload" | "gateway";
  /** Its own addresses, IPv4 first; 127.0.0.1 in explicit mode. */
  readonly addresses: readonly string[];
  readonly ports: readonly InstancePort[];
  readonly capture: "transparent" | "explicit" | "gateway";
  /** Raw TCP destinations with a local port each; explicit mode only. */
  readonly localDestinations: readonly LocalDestination[];
  /** Whether the sidecar is configured and the application runs: only then is it an endpoint. */
  readonly state: InstanceState;
  /** SHA-256, hex, of the bearer token that authenticates its sidecar to the control plane. */
  readonly tokenSha256: string;
  readonly dataPlane: "heddle" | "envoy";
  /** The sidecar's `admin.sock`, through which the control plane reads its live state. */
  readonly adminSocket: string;
  /** `http://address:port/stats/prometheus`. */
  readonly metricsUrl: string;
  readonly restarts: number;
  /** Why it is not ready, in one sentence, when it is not. */
  readonly detail?: string;
  /** The ports its sidecar listens on (explicit mode needs them listed; elsewhere Istio's). */
  readonly sidecarPorts: { readonly outbound: number; readonly inbound: number };
}

/** `draining`: it is about to end and takes no new requests. */
export type InstanceState =
  | "starting"
  | "warming"
  | "ready"
  | "restarting"
  | "draining"
  | "stopped";

export interface InstancePort {
  /** The application's port, as a service's `targetPort` names it. */
  readonly port: number;
  readonly protocol: PortProtocol;
  /** Where the application listens, as its sidecar dials it. */
  readonly appAddress: string;
  /** The port it really listens on, where that is not `port`: explicit mode gives it a free one. */
  readonly appPort?: number;
  /**
   * Where peers connect: the instance itself when captured, its sidecar's own port in explicit mode,
   * where a gateway listens on `endpointPort` for what a Gateway calls `port`.
   */
  readonly endpointAddress: string;
  readonly endpointPort: number;
  /** Of a gateway: where connections from outside are handed on to it. */
  readonly relay?: RelayPort;
  /** Of a gateway: where it is declared. */
  readonly source?: SourcePosition;
}

/** A port of its own for whoever accepts in the gateway's place and tells, by PROXY header, for whom. */
export interface RelayPort {
  readonly port: number;
  /** Only from here is it believed; others are refused. */
  readonly from: readonly string[];
}

export interface LocalDestination {
  /** `ledger.default.svc.cluster.local`. */
  readonly hostname: string;
  readonly port: number;
  /** The sidecar listens here on 127.0.0.1. */
  readonly localPort: number;
}
