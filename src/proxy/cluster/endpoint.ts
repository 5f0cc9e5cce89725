import type { SocketAddress } from "../../base/socket-address.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import { asksByHostname, withServerName } from "../../net/tls-contexts.ts";
import type { Ways } from "../../net/racing-dialler.ts";
import type { ProxyTlv } from "../../wire/proxy-protocol.ts";
import type { UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import type { Balanced } from "../engine/chooser.ts";
import type { LoadReport } from "../engine/load-weights.ts";
import type { EndpointStats } from "../stats/endpoint-series.ts";
import type { InternalTarget } from "../internal.ts";
import { type Preface, prefaceOf, type ProxyHeaderPlan } from "./proxy-header.ts";

export type EndpointMetadata = UpstreamEndpoint["metadata"];

/** What the control plane says of its health. */
export type EndpointStatus =
  | "UNKNOWN"
  | "HEALTHY"
  | "UNHEALTHY"
  | "DRAINING"
  | "TIMEOUT"
  | "DEGRADED";

/** How the endpoint is to be checked, where it says something of its own. */
export interface EndpointCheck {
  readonly address: string | undefined;
  /** 0: the endpoint's own. */
  readonly port: number;
  readonly hostname: string;
  readonly isOff: boolean;
}

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
  readonly check?: EndpointCheck | undefined;
  /** Local address that connections to it come from, where the cluster says so. */
  readonly sourceAddress?: string | undefined;
  /** Addresses that lead to it, too. */
  readonly others?: readonly SocketAddress[] | undefined;
  /** It is the listener of this name. */
  readonly listener?: string | undefined;
  readonly internal?: InternalTarget | undefined;
  /** Values that it adds to PROXY headers. */
  readonly tlvs?: readonly ProxyTlv[] | undefined;
  readonly header?: ProxyHeaderPlan | undefined;
}

export interface EndpointOptions {
  /** What consistent hashing places on its ring is the hostname. */
  readonly hashesHostname: boolean;
  /** It is the one endpoint of a name, whatever its address. */
  readonly isNamed: boolean;
  readonly waysTo: (description: EndpointDescription) => Ways | undefined;
  readonly onReport: (endpoint: Endpoint, outcome: UpstreamOutcome) => void;
  /** Of connections to it that others keep by other names. */
  readonly onConnectionsOver: (endpoint: Endpoint, how: "remove" | "drain") => void;
  /** There where endpoints are checked: it has told a request that it is not well. */
  readonly onSuspect?: (endpoint: Endpoint) => void;
  /** There where endpoints are weighed by their load. */
  readonly onLoadReport?: (endpoint: Endpoint, report: LoadReport) => void;
  /** Where the cluster wants series of each. */
  readonly stats: EndpointStats | undefined;
}

/** One address of a cluster: lives across updates as long as it stays in the cluster. */
export class Endpoint implements UpstreamEndpoint, Balanced {
  readonly address: SocketAddress;
  readonly hostname: string;
  readonly metadata: EndpointMetadata;
  readonly subsetValues: ReadonlyMap<string, string> | undefined;
  readonly tls: ClientTls | undefined;
  /** What it was described with: `tls` may add its name to that. */
  readonly configuredTls: ClientTls | undefined;
  readonly sourceAddress: string | undefined;
  readonly internal: InternalTarget | undefined;
  /** What PROXY headers of connections to it say; undefined where they have none. */
  readonly header: ProxyHeaderPlan | undefined;
  readonly tlvs: readonly ProxyTlv[];
  /** Of connections that are made for nobody. */
  readonly preface: Preface | undefined;
  readonly stats: EndpointStats | undefined;
  ways: Ways | undefined;
  weight: number;
  /** Ejection and checks come on top. */
  status: EndpointStatus;
  check: EndpointCheck | undefined;
  /** What checks have found, of `healthFlag`. */
  checked = 0;
  /** It is named no more, and stays while it passes its checks. */
  isLeaving = false;
  /** What checks know it by. */
  readonly healthKey: string;
  readonly suspect: (() => void) | undefined;
  readonly onLoadReport: UpstreamEndpoint["onLoadReport"];
  /** Since when it may take requests, by the monotonic clock; undefined before it may. */
  healthySinceMs: number | undefined = undefined;
  active = 0;
  connections = 0;
  priority = 0;
  isRemoved = false;
  onRemoved: (() => void) | undefined;
  onDrained: (() => void) | undefined;
  readonly hashKey: string;
  readonly #waysTo: EndpointOptions["waysTo"];
  readonly #onReport: EndpointOptions["onReport"];
  readonly #onConnectionsOver: EndpointOptions["onConnectionsOver"];

  constructor(description: EndpointDescription, options: EndpointOptions) {
    const { hashesHostname, isNamed, onReport, onConnectionsOver, waysTo } = options;
    const { onSuspect, onLoadReport } = options;
    this.address = description.address;
    this.hostname = description.hostname;
    this.metadata = description.metadata;
    this.subsetValues = description.subsetValues;
    this.configuredTls = description.tls;
    this.tls = namedTls(description);
    this.sourceAddress = description.sourceAddress;
    this.internal = description.internal;
    this.header = description.header;
    this.tlvs = description.tlvs ?? [];
    this.preface = this.header && prefaceOf(this.header, this.tlvs, this.address, undefined);
    this.ways = waysTo(description);
    this.weight = description.weight;
    this.status = description.status;
    this.check = description.check;
    this.healthKey = isNamed
      ? `${description.hostname}:${description.address.port}`
      : formatSocketAddress(description.address);
    this.suspect = onSuspect && (() => onSuspect(this));
    this.onLoadReport = onLoadReport && ((report) => onLoadReport(this, report));
    this.stats = options.stats;
    this.hashKey = hashKeyOf(description, hashesHostname);
    this.#waysTo = waysTo;
    this.#onReport = onReport;
    this.#onConnectionsOver = onConnectionsOver;
  }

  /** Whether it is checked, where its cluster's endpoints are. */
  get isChecked(): boolean {
    return this.check?.isOff !== true;
  }

  /** What may change while it stays the same endpoint. */
  describe(description: EndpointDescription): void {
    const { weight, status, check } = description;
    this.ways = this.#waysTo(description);
    this.weight = weight;
    this.status = status;
    this.check = check;
    this.isLeaving = false;
  }

  report(outcome: UpstreamOutcome): void {
    this.#onReport(this, outcome);
  }

  remove(): void {
    if (this.isRemoved) return;
    this.isRemoved = true;
    this.onRemoved?.();
    this.#onConnectionsOver(this, "remove");
    this.stats?.close();
  }

  /** Connections that stand now carry no further request. */
  drain(): void {
    this.onDrained?.();
    this.#onConnectionsOver(this, "drain");
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

/** A context may ask for servers by the names of their endpoints. */
function namedTls({ tls, hostname }: EndpointDescription): ClientTls | undefined {
  if (tls === undefined || hostname === "" || !asksByHostname(tls)) return tls;
  return withServerName(tls, { sni: hostname, expected: undefined });
}
