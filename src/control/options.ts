import type { Problem } from "../base/problem.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { WorkloadSnapshot } from "../model/workload.ts";
import type { YamlNode } from "../model/yaml.ts";

/**
 * Everything a control plane process is started with, as JSON in a file of mode 0600:
 * `heddle control --options FILE`. What runs arrives over its IPC channel (`WorkloadsMessage`) and
 * again after a restart.
 */
export interface ControlOptions {
  readonly mesh: string;
  /** The user's folder with Istio YAML, watched. */
  readonly configDir: string;
  /** Root key, applied resources, problems; 0700. */
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly rootNamespace: string;
  /** xDS and CA over TLS, Istio's 15012. */
  readonly secureXds: SocketAddress;
  /** Plain xDS, loopback only, Istio's 15010. */
  readonly plainXds?: SocketAddress;
  /** Plain xDS on a Unix socket (0600), too. */
  readonly plainXdsSocket?: string;
  /** Control plane metrics, Istio's 15014. */
  readonly metrics?: SocketAddress;
  /** Console: an inherited listening socket, or an address. */
  readonly console: { readonly fd: number } | SocketAddress;
  /** Asked of whoever comes to the console over TCP. */
  readonly consoleToken: string;
  /** Unix socket (0600) on which the CLI reaches the same API. */
  readonly apiSocket: string;
  readonly certificateTtlMs: number;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  readonly logFormat: "text" | "json";
}

/** Sent by whoever runs the workloads, over Node's IPC channel. */
export interface WorkloadsMessage {
  readonly kind: "workloads";
  readonly snapshot: WorkloadSnapshot;
  /** Problems of heddle.yaml or the Compose file, shown with the mesh's own. */
  readonly problems: readonly Problem[];
  /** The `meshConfig` block of heddle.yaml, Istio's MeshConfig: as written, each part with its place. */
  readonly meshConfig?: YamlNode;
  /** An external Prometheus to be asked instead of the embedded store: `metrics.prometheus`. */
  readonly prometheusUrl?: string;
}

/** Sent by the control plane: it listens and has translated its first configuration. */
export interface ControlReadyMessage {
  readonly kind: "ready";
}

/**
 * Sent by the control plane: every proxy it could reach in time works by this snapshot, or a later one.
 * Where some were late it is said again when they do.
 */
export interface ControlAppliedMessage {
  readonly kind: "applied";
  readonly revision: number;
  /** Without an exception. */
  readonly isEverywhere: boolean;
}

/**
 * Sent by the control plane while it runs, whenever it has changed: what is wrong with the configuration,
 * at most `toldProblemsMax`, without what it was told by `WorkloadsMessage`.
 */
export interface ControlProblemsMessage {
  readonly kind: "problems";
  readonly problems: readonly Problem[];
}

/** More are not told one by one anywhere. */
export const toldProblemsMax = 500;
