/**
 * Where instances run: in network namespaces of their own with capture, or as plain processes that
 * are told about their proxy. The supervisor asks only this.
 */
import type { SidecarPorts } from "../base/sidecar-options.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { InstancePort, LocalDestination, WorkloadInstance } from "../model/workload.ts";
import type { MeshFile } from "./mesh-file.ts";
import type { InstancePlan } from "./plan.ts";
import type { ProcessSpec } from "./run/kept-process.ts";

export interface Placement {
  readonly kind: "namespaces" | "explicit";
  /** Where the control plane listens, as sidecars reach it. */
  readonly control: SocketAddress;
  readonly plainXds: SocketAddress;
  readonly controlMetrics: SocketAddress;
  /** DNS over TCP for names outside the mesh, as the agents ask it. */
  readonly dnsUpstream: string | undefined;
  /** Adopts what a changed file says of capture, also for the instances that run. */
  follow(file: MeshFile): Promise<void>;
  /** Makes room for one instance; rejects with a sentence. */
  place(plan: InstancePlan): Promise<Place>;
  /** Virtual addresses of a service; none where names are not resolved. */
  serviceAddresses(key: string): readonly string[];
  close(): Promise<void>;
}

/** The room of one instance. */
export interface Place {
  readonly addresses: readonly string[];
  readonly capture: WorkloadInstance["capture"];
  readonly sidecarPorts: SidecarPorts;
  readonly statusAddress: string;
  readonly socketMark: number | undefined;
  readonly ports: readonly InstancePort[];
  readonly localDestinations: readonly LocalDestination[];
  /** How to start the sidecar's process here. */
  sidecar(spec: ProcessSpec): ProcessSpec;
  /**
   * How to start the application here, without power over what stands beside it. Of the mesh's folder
   * it may write `writable` only, where that can be enforced.
   */
  application(spec: ProcessSpec, writable: readonly string[]): ProcessSpec;
  /** Signals the application started by `application()`, whose process has `pid`. */
  signalApplication(pid: number, signal: NodeJS.Signals): void;
  /** Whether the application, whose process has `pid`, accepts on one of its ports. */
  isListening(port: number, pid: number): Promise<boolean>;
  close(): Promise<void>;
}
