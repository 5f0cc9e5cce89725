/** Translated resources as canonical protobuf JSON, as people and Envoy's bootstrap read them. */
import { type DescMessage, fromBinary, type JsonObject, toJson } from "@bufbuild/protobuf";

import type { TranslatedTypes } from "../../src/control/translate.ts";
import { ClusterSchema } from "../../src/wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import { ClusterLoadAssignmentSchema } from "../../src/wire/gen/es/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../../src/wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import { RouteConfigurationSchema } from "../../src/wire/gen/es/envoy/config/route/v3/route_pb.ts";
import { NameTableSchema } from "../../src/wire/gen/es/dns/proto/nds_pb.ts";
import { registry } from "../../src/wire/gen/es/registry.ts";
import { typeUrls } from "../../src/xds/feed.ts";

export type XdsKind = "cluster" | "endpoint" | "listener" | "route" | "nameTable";

const schemas: Readonly<Record<XdsKind, DescMessage>> = {
  cluster: ClusterSchema,
  endpoint: ClusterLoadAssignmentSchema,
  listener: ListenerSchema,
  route: RouteConfigurationSchema,
  nameTable: NameTableSchema,
};

export const xdsKinds: readonly XdsKind[] = [
  "cluster",
  "endpoint",
  "listener",
  "route",
  "nameTable",
];

/** Name → resource. */
export function resourcesAsJson(types: TranslatedTypes, kind: XdsKind): Map<string, JsonObject> {
  const found = new Map<string, JsonObject>();
  for (const { name, bytes } of types.get(typeUrls[kind]) ?? []) {
    const json = toJson(schemas[kind], fromBinary(schemas[kind], bytes), { registry });
    if (typeof json !== "object" || json === null || Array.isArray(json)) continue;
    found.set(name, json);
  }
  return found;
}
