import type { SocketAddress } from "../../base/socket-address.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import type { UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import type { Balanced } from "../engine/chooser.ts";

export type EndpointMetadata = UpstreamEndpoint["metadata"];

/** What the control plane says of its health. */
export type EndpointStatus =
  | "UNKNOWN"
  | "HEALTHY"
  | "UNHEALTHY"
  | "DRAINING"
  | "TIMEOUT"
  | "DEGRADED";

/** What configuration says about one address; equal descriptions keep the same endpoint. */
export interface EndpointDescription {
  readonly address: SocketAddress;
  readonly hostname: string;
  readonly weight: number;
  readonly status: EndpointStatus;
  readonly metadata: EndpointMetadata;
  /** Values of its `envoy.lb` metadata as JSON, for subsets. */
  readonly subsetValues?: ReadonlyMap<string, string> | undefined;
  readonly tls: ClientTls | undefined;
  /** Local address that connections to it come from, where the cluster says so. */
  readonly sourceAddress?: string | undefined;
}

export interface EndpointOptions {
  /** What consistent hashing places on its ring is the hostname. */
  readonly hashesHostname: boolean;
  readonly onReport: (endpoint: Endpoint, outcome: UpstreamOutcome) => void;
}

/** One address of a cluster: lives across updates as long as it stays in the cluster. */
export class Endpoint implements UpstreamEndpoint, Balanced {
  readonly address: SocketAddress;
  readonly hostname: string;
  readonly metadata: EndpointMetadata;
  readonly subsetValues: ReadonlyMap<string, string> | undefined;
  readonly tls: ClientTls | undefined;
  readonly sourceAddress: string | undefined;
  weight: number;
  /** Ejection comes on top. */
  status: EndpointStatus;
  /** Since when it may take requests, by the monotonic clock; undefined before it may. */
  healthySinceMs: number | undefined = undefined;
  active = 0;
  isRemoved = false;
  onRemoved: (() => void) | undefined;
  onDrained: (() => void) | undefined;
  readonly hashKey: string;
  readonly #onReport: EndpointOptions["onReport"];

  constructor(description: EndpointDescription, { hashesHostname, onReport }: EndpointOptions) {
    this.address = description.address;
    this.hostname = description.hostname;
    this.metadata = description.metadata;
    this.subsetValues = description.subsetValues;
    this.tls = description.tls;
    this.sourceAddress = description.sourceAddress;
    this.weight = description.weight;
    this.status = description.status;
    this.hashKey = hashKeyOf(description, hashesHostname);
    this.#onReport = onReport;
  }

  report(outcome: UpstreamOutcome): void {
    this.#onReport(this, outcome);
  }

  remove(): void {
    if (this.isRemoved) return;
    this.isRemoved = true;
    this.onRemoved?.();
  }

  /** Connections that stand now carry no further request. */
  drain(): void {
    this.onDrained?.();
  }
}

/** As in Envoy: metadata may name it. */
function hashKeyOf(
  { address, hostname, metadata }: EndpointDescription,
  hashesHostname: boolean,
): string {
  const given = metadata["envoy.lb"]?.["hash_key"];
  if (given !== undefined && given !== "") return given;
  return hashesHostname && hostname !== "" ? hostname : formatSocketAddress(address);
}
