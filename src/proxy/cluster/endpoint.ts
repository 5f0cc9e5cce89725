import type { SocketAddress } from "../../base/socket-address.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import type { UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import type { Balanced } from "../engine/chooser.ts";

export type EndpointMetadata = UpstreamEndpoint["metadata"];

/** What configuration says about one address; equal descriptions keep the same endpoint. */
export interface EndpointDescription {
  readonly address: SocketAddress;
  readonly hostname: string;
  readonly weight: number;
  readonly isHealthy: boolean;
  readonly metadata: EndpointMetadata;
  readonly tls: ClientTls | undefined;
  /** Local address that connections to it come from, where the cluster says so. */
  readonly sourceAddress?: string | undefined;
}

/** One address of a cluster: lives across updates as long as it stays in the cluster. */
export class Endpoint implements UpstreamEndpoint, Balanced {
  readonly address: SocketAddress;
  readonly hostname: string;
  readonly metadata: EndpointMetadata;
  readonly tls: ClientTls | undefined;
  readonly sourceAddress: string | undefined;
  weight: number;
  /** What the control plane says; ejection comes on top. */
  isHealthy: boolean;
  active = 0;
  isRemoved = false;
  onRemoved: (() => void) | undefined;
  readonly hashKey: string;
  readonly #onReport: (endpoint: Endpoint, outcome: UpstreamOutcome) => void;

  constructor(
    description: EndpointDescription,
    onReport: (endpoint: Endpoint, outcome: UpstreamOutcome) => void,
  ) {
    this.address = description.address;
    this.hostname = description.hostname;
    this.metadata = description.metadata;
    this.tls = description.tls;
    this.sourceAddress = description.sourceAddress;
    this.weight = description.weight;
    this.isHealthy = description.isHealthy;
    this.hashKey = formatSocketAddress(description.address);
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
}
