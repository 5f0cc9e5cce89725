/**
 * What `heddle.yaml` (or a Compose file) says: the workloads of one mesh on one machine. Everything
 * is checked and defaulted here, so that whoever runs it needs no second opinion.
 */
import type { SidecarPorts } from "../base/sidecar-options.ts";
import type { SourcePosition } from "../base/problem.ts";
import type { PortProtocol } from "../model/workload.ts";
import type { YamlNode } from "../model/yaml.ts";

export interface MeshFile {
  /** Names the state directory: a DNS label. */
  readonly mesh: string;
  readonly consolePort: number;
  /** Address on which the console and the gateways' host ports listen. */
  readonly hostAddress: string;
  readonly rootNamespace: string;
  /** Of `meshConfig`, because identities are made of it from the first moment. */
  readonly trustDomain: string;
  /** Istio's MeshConfig as written, for the control plane to read. */
  readonly meshConfig: YamlNode | undefined;
  /** Asked by the console instead of the embedded store. */
  readonly prometheusUrl?: string;
  /** What the file changes of the ports that Heddle itself listens on. */
  readonly ports: GivenPorts;
  /** Of `meshConfig`, because it also governs what capture does with UDP. */
  readonly outboundTrafficPolicy: "ALLOW_ANY" | "REGISTRY_ONLY";
  readonly gateways: readonly GatewaySpec[];
  readonly workloads: readonly WorkloadSpec[];
  /** Where that is said which is read only at a start. */
  readonly places: {
    readonly [Field in "mesh" | "consolePort" | "hostAddress" | "rootNamespace"]: SourcePosition;
  };
}

/** Where the control plane listens. */
export interface ControlPlanePorts {
  /** xDS and certificates over TLS. */
  readonly secureXds: number;
  /** xDS on loopback. */
  readonly plainXds: number;
  readonly metrics: number;
}

/** Ports that are left out are Istio's or, in explicit mode, any that are free. */
export interface GivenPorts {
  readonly controlPlane: Partial<ControlPlanePorts>;
  readonly sidecar: Partial<SidecarPorts>;
  /** Where each is written, by its path: `ports.sidecar.ready`, and `ports` itself. */
  readonly places: Readonly<Record<string, SourcePosition>>;
}

export interface GatewaySpec {
  readonly name: string;
  readonly namespace: string;
  readonly serviceAccount: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ports: readonly GatewayPort[];
}

export interface GatewayPort {
  readonly name: string;
  readonly port: number;
  /** Opened on the host. */
  readonly hostPort: number;
  readonly protocol: PortProtocol;
  /** Of `hostPort`, or of the port where that is left out. */
  readonly position: SourcePosition;
}

/** Names one port of one gateway, whatever port of the host leads to it. */
export function gatewayPortKey(
  gateway: Pick<GatewaySpec, "name" | "namespace">,
  port: number,
): string {
  return `${gateway.namespace}/${gateway.name}:${port}`;
}

export interface WorkloadSpec {
  readonly name: string;
  /** The service whose name selects it (by the label `app`); undefined for a pure client. */
  readonly service: string | undefined;
  readonly namespace: string;
  readonly serviceAccount: string;
  /** With `app`, `version` and Istio's canonical labels filled in. */
  readonly labels: Readonly<Record<string, string>>;
  /** `region/zone/subzone`. */
  readonly locality: string | undefined;
  readonly replicas: number;
  readonly command: readonly string[];
  /** Absolute. */
  readonly workingDirectory: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Where each variable is written. */
  readonly environmentPlaces: Readonly<Record<string, SourcePosition>>;
  readonly dependsOn: readonly string[];
  readonly ports: readonly WorkloadPort[];
  /** Of each port: where its protocol is written, or would be. */
  readonly portPlaces: readonly SourcePosition[];
  readonly destinations: readonly DestinationSpec[];
  /** Where the application exposes Prometheus metrics of its own. */
  readonly metrics: MetricsSpec | undefined;
  /** Folders inside the mesh's folder that the application may write, absolute, links followed. */
  readonly writable: readonly string[];
  readonly position: SourcePosition;
}

export interface WorkloadPort {
  readonly name: string;
  /** The service's port. */
  readonly port: number;
  /** The application's port. */
  readonly targetPort: number;
  readonly protocol: PortProtocol;
}

export interface MetricsSpec {
  /** The application's port. */
  readonly port: number;
  readonly path: string;
}

/** A raw TCP destination that gets a local port in explicit mode. */
export interface DestinationSpec {
  /** `ledger`, `ledger.shop` or a full name. */
  readonly service: string;
  readonly port: number;
}

export const meshFileLimits = {
  workloadsMax: 500,
  replicasMax: 100,
  instancesMax: 1000,
  portsMax: 64,
  /** `<instance>.<namespace>` is the common name of a certificate (X.520: 64). */
  instanceNameBytesMax: 64,
} as const;
