/** Operators that read metadata: of clusters, of endpoints, and what filters say of a request. */
import type { RequestRecord } from "../request-record.ts";
import type { JsonValue, Operator, OperatorMaker, OperatorValue } from "./operator.ts";

type MetadataOf = (record: RequestRecord) => Readonly<Record<string, unknown>> | undefined;

function metadataOperator(metadataOf: MetadataOf): OperatorMaker {
  return (argument) => {
    const [filter = "", ...keys] = argument.split(":");
    if (filter === "") return "needs NAMESPACE or NAMESPACE:KEY";
    // Clusters and endpoints keep their objects as long as they live: most requests ask for the same.
    let last: unknown;
    let lastValue: OperatorValue;
    return (record) => {
      const metadata = metadataOf(record);
      if (metadata === undefined) return undefined;
      if (metadata !== last) {
        lastValue = plain(descend(metadata, [filter, ...keys]));
        last = metadata;
      }
      return lastValue;
    };
  };
}

/** What filters found out of this request. */
function ofRequest(argument: string): Operator | string {
  const [filter = "", ...keys] = argument.split(":");
  if (filter === "") return "needs NAMESPACE or NAMESPACE:KEY";
  return ({ dynamicMetadata }) => plain(descend(dynamicMetadata?.get(filter), keys));
}

function descend(value: unknown, keys: readonly string[]): unknown {
  let at = value;
  for (const key of keys) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = Object.getOwnPropertyDescriptor(at, key)?.value;
  }
  return at;
}

/** Of a protobuf Struct, decoded: JSON already; anything else has nothing to say. */
function plain(value: unknown): OperatorValue {
  if (typeof value === "string") return value === "" ? undefined : value;
  if (typeof value === "number" || typeof value === "boolean") return value;
  if (typeof value !== "object" || value === null) return undefined;
  const copy: JsonValue = JSON.parse(JSON.stringify(value, sorted));
  return copy;
}

/** Keys in order, as Envoy writes them. */
function sorted(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

const ofEndpoint = metadataOperator((record) => record.upstreamMetadata);
const ofCluster = metadataOperator((record) => record.clusterMetadata);

/** By the TYPE of `%METADATA(TYPE:NAMESPACE:KEY)%`. */
const byType: ReadonlyMap<string, OperatorMaker> = new Map([
  ["CLUSTER", ofCluster],
  ["DYNAMIC", ofRequest],
  ["LISTENER", metadataOperator((record) => record.listenerMetadata)],
  ["LISTENER_FILTER_CHAIN", metadataOperator((record) => record.filterChain?.metadata)],
  ["ROUTE", metadataOperator((record) => record.routeMetadata)],
  ["UPSTREAM_HOST", ofEndpoint],
  ["VIRTUAL_HOST", metadataOperator((record) => record.virtualHostMetadata)],
]);

function metadataOfType(argument: string): Operator | string {
  const [type = "", ...rest] = argument.split(":");
  const maker = byType.get(type);
  if (maker !== undefined) return maker(rest.join(":"));
  const known = [...byType.keys()].join(" ");
  return `cannot read metadata of ${type || "nothing"}; there are: ${known}`;
}

export const metadataOperatorMakers: { readonly [name: string]: OperatorMaker } = {
  UPSTREAM_METADATA: ofEndpoint,
  CLUSTER_METADATA: ofCluster,
  DYNAMIC_METADATA: ofRequest,
  METADATA: metadataOfType,
  FILTER_STATE: filterState,
};

/** `%FILTER_STATE(KEY:PLAIN)%` is the text, without PLAIN in quotes: JSON of Envoy's message. */
function filterState(argument: string): Operator | string {
  const [key = "", form = "TYPED", ...rest] = argument.split(":");
  if (key === "") return "needs KEY, KEY:PLAIN or KEY:TYPED";
  if (key === grpcStatsKey) {
    return form === "PLAIN" ? grpcMessages : "names a filter state that is told as PLAIN alone";
  }
  if (!["PLAIN", "TYPED"].includes(form) || rest.length > 0) return "takes PLAIN or TYPED";
  if (form === "PLAIN") return (record) => record.filterState?.(key);
  return (record) => record.filterStateJson?.(key);
}

const grpcStatsKey = "envoy.filters.http.grpc_stats";

/** Envoy keeps the state from the first message on. */
function grpcMessages({ requestMessages = 0, responseMessages = 0 }: RequestRecord): OperatorValue {
  return requestMessages + responseMessages > 0
    ? `${requestMessages},${responseMessages}`
    : undefined;
}
