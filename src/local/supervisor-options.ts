/**
 * Everything the supervisor inside the namespaces is started with, as JSON in a file of mode 0600:
 * `heddle supervise --options FILE`. In explicit mode the same is handed over in process.
 */
import type { SidecarOptions } from "../base/sidecar-options.ts";
import type { SocketAddress } from "../base/socket-address.ts";

export interface SupervisorOptions {
  readonly mesh: string;
  /** `heddle.yaml` or the Compose file. */
  readonly meshFile: string;
  /** The user's folder, with the mesh's configuration. */
  readonly directory: string;
  readonly stateDir: string;
  readonly trustDomain: string;
  readonly dataPlane: "heddle" | "envoy";
  readonly envoyBinary?: string;
  /** Of Heddle's proxy in every sidecar and gateway. */
  readonly serving: Pick<SidecarOptions, "io" | "concurrency">;
  readonly logLevel: SidecarOptions["logLevel"];
  readonly logFormat: SidecarOptions["logFormat"];
  readonly certificateTtlMs: number;
  /** Program and arguments that come before a command: `["/…/node", "/…/main.ts"]`. */
  readonly heddle: readonly string[];
  /** What processes inherit of the environment of whoever started the mesh. */
  readonly environment: Readonly<Record<string, string>>;
  /** The console's listening socket, inherited; or where the control plane itself shall listen. */
  readonly console: { readonly descriptor: number } | SocketAddress;
  readonly network: NetworkOptions;
}

/** What the probe found out about this machine. */
export interface NetworkOptions {
  readonly mtu: number;
  readonly hasIpv6: boolean;
  readonly firewall: "nft" | "iptables";
  readonly applicationUser?: { readonly uid: number; readonly gid: number };
  /** Directories that applications find empty. */
  readonly hidden: readonly string[];
}
