import type { Problem, ResourceRef, SourcePosition } from "../base/problem.ts";
import type { WorkloadSnapshot } from "../model/workload.ts";
import type { WorkloadsMessage } from "./options.ts";

/**
 * What the control plane shows to the console and the CLI: the configuration with its problems, the
 * proxies with what each has acknowledged, and the two changes an operator makes, apply and remove.
 * Serving xDS and certificates goes on behind it and needs nobody to ask.
 *
 * Everything returned is immutable and belongs to the moment of the call.
 */
export interface ControlPlane {
  /** Problems of heddle.yaml, of the configuration, and of what proxies refused. */
  problems(): readonly Problem[];
  resources(filter?: ResourceFilter): readonly ConfigResource[];
  /** Every workload instance with a sidecar, connected or not, by name. */
  proxies(): readonly ProxyStatus[];
  /** What runs, as last told; undefined before the first message. */
  workloads(): WorkloadSnapshot | undefined;
  /**
   * Adds or replaces the resources in a YAML text, all of them or, with an error among the problems,
   * none. A resource that a file of the configuration folder holds is refused, naming the file. The
   * outcome's `generation` says from when on the proxies' configuration includes it.
   */
  apply(yaml: string, options: ApplyOptions): Promise<ApplyOutcome>;
  /** Removes what was applied. What a file holds must be removed there; the problem names it. */
  remove(ref: ResourceRef): Promise<ApplyOutcome>;
  /** Ends when each proxy whose resources these change has acknowledged, one has refused, or time is up. */
  waitFor(refs: readonly ResourceRef[], options: WaitOptions): Promise<WaitOutcome>;
  /** Tells what changed, at most once per turn of the event loop and kind; the return value ends it. */
  onChange(listener: (change: ControlChange) => void): () => void;
  authority(): AuthorityStatus;
  /** Takes over what runs; older revisions than the last are dropped. */
  setWorkloads(message: WorkloadsMessage): void;
  /** Takes over what was seen lately; ports whose declaration says otherwise are problems. */
  setSeenProtocols(seen: readonly SeenProtocol[]): void;
  /** Ends every stream and listener. */
  close(): Promise<void>;
}

/** What connections to an address spoke where it may not be expected, as proxies tell it. */
export interface SeenProtocol {
  /** `address:port`, as the connection asked for it or as it came to the workload. */
  readonly destination: string;
  /** `http/1.0`, `http/1.1`, `h2c`, `tls`, or `tcp` for anything else. */
  readonly seen: string;
}

export type ControlChange = "configuration" | "proxies" | "workloads";

/** Absent fields match everything. `kind` without regard to case, also plural (`virtualservices`). */
export interface ResourceFilter {
  readonly kind?: string;
  readonly namespace?: string;
  readonly name?: string;
}

/** One resource of the mesh's configuration, as it was written. */
export interface ConfigResource {
  readonly ref: ResourceRef;
  readonly apiVersion: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly spec: unknown;
  /** Where it is written; a file of the state folder for what was applied. */
  readonly source: SourcePosition | undefined;
  readonly origin: "file" | "applied";
  /** The text it was read from, one YAML document. */
  readonly yaml: string;
  readonly problems: readonly Problem[];
}

export interface ApplyOptions {
  /** Checks and says what would happen; changes nothing. */
  readonly dryRun: boolean;
  /** For documents that name no namespace. */
  readonly namespace?: string;
  /** How problems call the text: a file name, `-` for standard input. */
  readonly file?: string;
}

export interface ApplyOutcome {
  /** Each resource concerned and what happened (or would happen) to it; empty when refused. */
  readonly applied: readonly AppliedResource[];
  readonly problems: readonly Problem[];
  /** Grows with every accepted change of the configuration; for `waitFor`. */
  readonly generation: number;
}

export interface AppliedResource {
  readonly ref: ResourceRef;
  readonly change: "created" | "configured" | "unchanged" | "removed";
}

export interface WaitOptions {
  readonly timeoutMs: number;
  /** From `ApplyOutcome`; without it, the configuration as it is now. */
  readonly generation?: number;
}

export interface WaitOutcome {
  /** Proxies (`cart-0.default`) that have acknowledged everything these resources changed. */
  readonly acked: readonly string[];
  /** Proxies that have been sent it, or could not be, and have not answered in time. */
  readonly pending: readonly string[];
  readonly refused: readonly ProxyRefusal[];
}

export interface ProxyStatus {
  /** `<instance>.<namespace>`. */
  readonly proxy: string;
  readonly instance: string;
  readonly workload: string;
  readonly namespace: string;
  readonly dataPlane: "heddle" | "envoy";
  readonly role: "workload" | "gateway";
  readonly connection: ProxyConnection;
  /** One entry for each type the proxy has asked for, in the order LDS, RDS, CDS, EDS, others. */
  readonly types: readonly ProxyTypeStatus[];
  readonly refusals: readonly ProxyRefusal[];
}

export type ProxyConnection =
  | {
      readonly kind: "connected";
      readonly sinceMs: number;
      readonly address: string;
      readonly protocol: "delta" | "sotw" | "none";
    }
  | { readonly kind: "disconnected"; readonly sinceMs: number; readonly reason: string }
  | { readonly kind: "never" };

export interface ProxyTypeStatus {
  readonly typeUrl: string;
  /** `LDS`, `RDS`, `CDS`, `EDS`, `NDS`; the type's last word for others. */
  readonly label: string;
  readonly state: "synced" | "pending" | "refused" | "idle";
  /** Resources the proxy should have of this type. */
  readonly resources: number;
  readonly sentVersion: string | undefined;
  readonly sentAtMs: number | undefined;
  readonly ackedVersion: string | undefined;
  readonly ackedAtMs: number | undefined;
}

/** A response that a proxy did not accept. */
export interface ProxyRefusal {
  readonly proxy: string;
  readonly typeUrl: string;
  readonly label: string;
  /** Names of the refused resources, as far as the proxy's reason or the response tell. */
  readonly resources: readonly string[];
  /** Configuration that those resources were made from. */
  readonly origins: readonly { readonly ref: ResourceRef; readonly source?: SourcePosition }[];
  /** The proxy's own words. */
  readonly reason: string;
  readonly atMs: number;
}

export interface AuthorityStatus {
  readonly trustDomain: string;
  /** PEM; public. */
  readonly rootPem: string;
  readonly rootSerial: string;
  readonly rootNotAfterMs: number;
  readonly certificateTtlMs: number;
  readonly issued: number;
  readonly refused: number;
}
