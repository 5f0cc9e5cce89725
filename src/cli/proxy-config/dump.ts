/**
 * Reads `/config_dump` of a proxy: the JSON that Envoy's admin interface defines, and that Heddle's
 * proxy answers too. Each resource is decoded alone, so one of an unknown type hides no other.
 */
import { fromJson, type JsonValue } from "@bufbuild/protobuf";
import { type Any, anyUnpack } from "@bufbuild/protobuf/wkt";

import {
  type Cluster,
  ClusterSchema,
} from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import {
  type ClusterLoadAssignment,
  ClusterLoadAssignmentSchema,
} from "../../wire/gen/es/envoy/config/endpoint/v3/endpoint_pb.ts";
import {
  type Listener,
  ListenerSchema,
} from "../../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import {
  type RouteConfiguration,
  RouteConfigurationSchema,
} from "../../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import {
  type Secret,
  SecretSchema,
} from "../../wire/gen/es/envoy/extensions/transport_sockets/tls/v3/secret_pb.ts";
import { registry } from "../../wire/gen/es/registry.ts";

export interface ProxyDump {
  readonly listeners: readonly Dumped<Listener>[];
  readonly routes: readonly Dumped<RouteConfiguration>[];
  readonly clusters: readonly Dumped<Cluster>[];
  readonly endpoints: readonly Dumped<ClusterLoadAssignment>[];
  readonly secrets: readonly Dumped<Secret>[];
  readonly bootstrap: JsonValue | undefined;
}

export interface Dumped<Message> {
  readonly message: Message;
  /** As the proxy printed it: what `-o json` and `-o yaml` show. */
  readonly json: JsonValue;
  readonly version: string;
  readonly state: "active" | "warming" | "static" | "error";
  /** Why the newest version was refused, for `error`. */
  readonly error: string | undefined;
}

type JsonRecord = Readonly<Record<string, JsonValue>>;

const decoders = {
  listener: (json: JsonValue) => fromJson(ListenerSchema, json, { registry }),
  routes: (json: JsonValue) => fromJson(RouteConfigurationSchema, json, { registry }),
  clusters: (json: JsonValue) => fromJson(ClusterSchema, json, { registry }),
  endpoints: (json: JsonValue) => fromJson(ClusterLoadAssignmentSchema, json, { registry }),
  secrets: (json: JsonValue) => fromJson(SecretSchema, json, { registry }),
};

export function parseConfigDump(text: string): ProxyDump {
  const configs = listOf(recordOf(JSON.parse(text)), "configs");
  const all = <Message>(
    key: string,
    decode: (json: JsonValue) => Message,
  ): readonly Dumped<Message>[] => configs.flatMap((config) => entriesOf(config, key, decode));
  const bootstrap = configs.find((config) => config["bootstrap"] !== undefined);
  return {
    listeners: all("listener", decoders.listener),
    routes: all("route_config", decoders.routes),
    clusters: all("cluster", decoders.clusters),
    endpoints: all("endpoint_config", decoders.endpoints),
    secrets: all("secret", decoders.secrets),
    bootstrap: bootstrap?.["bootstrap"],
  };
}

/** An Any of a message, decoded; undefined when it holds another type. */
export function unpack(any: Any | undefined): ReturnType<typeof anyUnpack> {
  return any === undefined ? undefined : anyUnpack(any, registry);
}

/**
 * Finds each `key` in a section of the dump (`dynamic_listeners[].active_state.listener`,
 * `static_clusters[].cluster`): sections differ in depth, not in what they hold.
 */
function entriesOf<Message>(
  config: JsonRecord,
  key: string,
  decode: (json: JsonValue) => Message,
): readonly Dumped<Message>[] {
  return Object.entries(config).flatMap(([section, entries]) =>
    Array.isArray(entries)
      ? entries.flatMap((entry) => {
          const record = recordOf(entry);
          const holders = [record, ...statesOf(record)];
          return holders.flatMap((holder) => decodeEntry(section, record, holder, key, decode));
        })
      : [],
  );
}

function statesOf(entry: JsonRecord): readonly JsonRecord[] {
  return ["active_state", "activeState", "warming_state", "warmingState"]
    .map((name) => entry[name])
    .filter((state) => state !== undefined)
    .map(recordOf);
}

function decodeEntry<Message>(
  section: string,
  entry: JsonRecord,
  holder: JsonRecord,
  key: string,
  decode: (json: JsonValue) => Message,
): readonly Dumped<Message>[] {
  const json = field(holder, key);
  if (json === undefined) return [];
  const errorState = field(entry, "error_state");
  const { "@type": _, ...bare } = recordOf(json);
  return [
    {
      message: decode(bare),
      json,
      version: textOf(field(holder, "version_info")),
      state: stateOf(section, entry, holder),
      error: errorState === undefined ? undefined : textOf(recordOf(errorState)["details"]),
    },
  ];
}

function stateOf(section: string, entry: JsonRecord, holder: JsonRecord): Dumped<unknown>["state"] {
  if (field(entry, "error_state") !== undefined) return "error";
  if (section.includes("warming") || holder === field(entry, "warming_state")) return "warming";
  return section.startsWith("static") ? "static" : "active";
}

/** A field by its proto name; printers may write it in camel case. */
function field(record: JsonRecord, name: string): JsonValue | undefined {
  return (
    record[name] ?? record[name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase())]
  );
}

function listOf(record: JsonRecord, name: string): readonly JsonRecord[] {
  const list = record[name];
  return Array.isArray(list) ? list.map(recordOf) : [];
}

function recordOf(value: JsonValue): JsonRecord {
  return value !== null && typeof value === "object" && !Array.isArray(value) ? value : {};
}

function textOf(value: JsonValue | undefined): string {
  return typeof value === "string" ? value : "";
}
