/**
 * Who a workload is, as Istio tells it: node metadata of a proxy, the headers that its proxies
 * exchange, metadata of endpoints and clusters.
 */
import { type PeerLabels, unknownPeer } from "../../telemetry/standard-metrics.ts";
import { Struct } from "../../wire/gen/ts/google/protobuf/struct.ts";

export type NodeMetadata = Readonly<Record<string, unknown>>;

export const peerHeader = "x-envoy-peer-metadata";
export const peerIdHeader = "x-envoy-peer-metadata-id";

/** Longer ones are not read: a stranger's header must not cost much. */
const headerBytesMax = 16 * 1024;

export function labelsOf(metadata: NodeMetadata): PeerLabels {
  const labels = recordOf(metadata["LABELS"]);
  const text = (value: unknown): string | undefined =>
    typeof value === "string" && value !== "" ? value : undefined;
  const workload = text(metadata["WORKLOAD_NAME"]) ?? unknownPeer.workload;
  const app = text(labels["app"]);
  const version = text(labels["version"]);
  return {
    workload,
    namespace: text(metadata["NAMESPACE"]) ?? unknownPeer.namespace,
    app: app ?? unknownPeer.app,
    version: version ?? unknownPeer.version,
    canonicalService:
      text(labels["service.istio.io/canonical-name"]) ??
      text(labels["app.kubernetes.io/name"]) ??
      app ??
      workload,
    canonicalRevision:
      text(labels["service.istio.io/canonical-revision"]) ??
      text(labels["app.kubernetes.io/version"]) ??
      version ??
      "latest",
    cluster: text(metadata["CLUSTER_ID"]) ?? unknownPeer.cluster,
  };
}

const toldLabels = [
  "app",
  "version",
  "app.kubernetes.io/name",
  "app.kubernetes.io/version",
  "service.istio.io/canonical-name",
  "service.istio.io/canonical-revision",
] as const;

/** What our proxy tells of us: the fields that labels are made of, nothing else of the node. */
export function encodePeer(metadata: NodeMetadata): string {
  const labels = recordOf(metadata["LABELS"]);
  const told = toldLabels.filter((key) => typeof labels[key] === "string");
  const fields: Record<string, unknown> = {
    LABELS: Object.fromEntries(told.map((key) => [key, labels[key]])),
  };
  for (const key of ["NAME", "NAMESPACE", "WORKLOAD_NAME", "OWNER", "CLUSTER_ID"]) {
    if (typeof metadata[key] === "string") fields[key] = metadata[key];
  }
  return Buffer.from(Struct.encode(Struct.wrap(fields)).finish()).toString("base64");
}

/** Undefined for what is no peer's: whoever sent it is unknown then. */
export function decodePeer(header: string | undefined): PeerLabels | undefined {
  if (header === undefined || header.length > headerBytesMax) return undefined;
  try {
    return labelsOf(Struct.unwrap(Struct.decode(Buffer.from(header, "base64"))));
  } catch {
    return undefined; // a stranger's header
  }
}

/** Endpoint metadata `istio.workload`: `name;namespace;canonical service;revision;cluster`. */
export function peerOfEndpoint(
  metadata: Readonly<Record<string, Readonly<Record<string, string>>>> | undefined,
): PeerLabels | undefined {
  const parts = metadata?.["istio"]?.["workload"]?.split(";");
  if (parts === undefined) return undefined;
  const [workload, namespace, canonicalService, canonicalRevision, cluster] = parts;
  return {
    ...unknownPeer,
    workload: workload || unknownPeer.workload,
    namespace: namespace || unknownPeer.namespace,
    canonicalService: canonicalService || unknownPeer.canonicalService,
    canonicalRevision: canonicalRevision || "latest",
    cluster: cluster || unknownPeer.cluster,
  };
}

export interface ServiceLabels {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
}

/** Cluster metadata `istio.services`: the service that the cluster is of. */
export function serviceOfCluster(
  metadata: Readonly<Record<string, unknown>> | undefined,
): ServiceLabels | undefined {
  const services = recordOf(metadata?.["istio"])["services"];
  const first = recordOf(Array.isArray(services) ? services[0] : undefined);
  const { host, name, namespace } = first;
  if (typeof host !== "string") return undefined;
  return {
    host,
    name: typeof name === "string" ? name : host,
    namespace: typeof namespace === "string" ? namespace : "unknown",
  };
}

/** No fields where the value has none. */
export function recordOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  return { ...value };
}
