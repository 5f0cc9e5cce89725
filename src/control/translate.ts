/**
 * From the mesh model to the resources of one proxy, in the shapes Istio gives them, for Envoy and
 * for Heddle's own data plane alike. Pure: equal models give equal bytes, and so equal versions.
 *
 * Secrets are not among them: certificates and roots come from the agent beside the proxy.
 */
import type { DescMessage, MessageShape } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";

import type { ResourceRef } from "../base/problem.ts";
import type { WorkloadInstance } from "../model/workload.ts";
import { ClusterSchema } from "../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import { ClusterLoadAssignmentSchema } from "../wire/gen/es/envoy/config/endpoint/v3/endpoint_pb.ts";
import { ListenerSchema } from "../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import type { RouteConfiguration } from "../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import { RouteConfigurationSchema } from "../wire/gen/es/envoy/config/route/v3/route_pb.ts";
import { NameTableSchema } from "../wire/gen/es/dns/proto/nds_pb.ts";
import { typeUrls } from "../xds/feed.ts";
import type { EncodedResource } from "../xds/snapshot.ts";
import { encodedResource } from "../xds/snapshot.ts";
import type { MeshModel } from "./mesh-model.ts";
import type { TranslatedCluster } from "./translate/clusters.ts";
import { outboundClusters } from "./translate/clusters.ts";
import { loadAssignment } from "./translate/endpoints.ts";
import { explicitOutbound } from "./translate/explicit.ts";
import { gatewayTraffic } from "./translate/gateway.ts";
import { inboundClusters } from "./translate/inbound-clusters.ts";
import { inboundTraffic } from "./translate/inbound.ts";
import { nameTable } from "./translate/name-table.ts";
import type { TranslatedTraffic } from "./translate/outbound.ts";
import { capturedOutbound } from "./translate/outbound.ts";
import type { ProxyView } from "./translate/proxy-view.ts";
import { proxyView } from "./translate/proxy-view.ts";

/** Resources by type URL. */
export type TranslatedTypes = ReadonlyMap<string, readonly EncodedResource[]>;

/** Every resource of `proxy`, which is one of the model's instances. */
export function translate(model: MeshModel, proxy: WorkloadInstance): TranslatedTypes {
  const view = proxyView(model, proxy);
  const traffic = trafficOf(view);
  const clusters =
    view.capture === "gateway"
      ? outboundClusters(view)
      : [...outboundClusters(view), ...inboundClusters(view)];
  const clusterNames = new Set(clusters.map((one) => one.cluster.name));
  return new Map<string, readonly EncodedResource[]>([
    [typeUrls.cluster, clusters.map(encodeCluster)],
    [typeUrls.endpoint, clusters.flatMap((one) => encodeAssignment(view, one))],
    [
      typeUrls.listener,
      traffic.listeners.map((one) =>
        encode(ListenerSchema, one.listener, {
          references: one.routeNames,
          origins: distinct(one.origins),
        }),
      ),
    ],
    [
      typeUrls.route,
      traffic.routes.map((one) =>
        encode(RouteConfigurationSchema, one.routes, {
          references: clustersOf(one.routes).filter((name) => clusterNames.has(name)),
          origins: distinct(one.origins),
        }),
      ),
    ],
    [typeUrls.nameTable, [encodedResource("names", toBinary(NameTableSchema, nameTable(view)))]],
  ]);
}

function trafficOf(view: ProxyView): TranslatedTraffic {
  if (view.capture === "gateway") return gatewayTraffic(view);
  const outbound = view.capture === "explicit" ? explicitOutbound(view) : capturedOutbound(view);
  const inbound = inboundTraffic(view);
  return {
    listeners: [...outbound.listeners, ...inbound.listeners],
    routes: [...outbound.routes, ...inbound.routes],
  };
}

interface Links {
  readonly references: readonly string[];
  readonly origins: readonly ResourceRef[];
}

function encode<Schema extends DescMessage>(
  schema: Schema,
  message: MessageShape<Schema> & { readonly name: string },
  links: Links,
): EncodedResource {
  return encodedResource(message.name, toBinary(schema, message), links);
}

function encodeCluster({ cluster, origins }: TranslatedCluster): EncodedResource {
  const { edsClusterConfig } = cluster;
  const references = edsClusterConfig === undefined ? [] : [edsClusterConfig.serviceName];
  return encode(ClusterSchema, cluster, { references, origins: distinct(origins) });
}

function encodeAssignment(view: ProxyView, one: TranslatedCluster): EncodedResource[] {
  if (one.target?.usesEds !== true) return [];
  const assignment = loadAssignment(one.cluster.name, view.model, one.target);
  const bytes = toBinary(ClusterLoadAssignmentSchema, assignment);
  return [encodedResource(one.cluster.name, bytes, { origins: distinct(one.origins) })];
}

function distinct(refs: readonly ResourceRef[]): ResourceRef[] {
  return [
    ...new Map(refs.map((ref) => [`${ref.kind} ${ref.namespace}/${ref.name}`, ref])).values(),
  ];
}

/** Every cluster a route table sends to, mirrors included. */
function clustersOf(routes: RouteConfiguration): string[] {
  const names = new Set<string>();
  for (const route of routes.virtualHosts.flatMap((host) => host.routes)) {
    if (route.action.case !== "route") continue;
    const { clusterSpecifier, requestMirrorPolicies } = route.action.value;
    if (clusterSpecifier.case === "cluster") names.add(clusterSpecifier.value);
    if (clusterSpecifier.case === "weightedClusters") {
      for (const { name } of clusterSpecifier.value.clusters) names.add(name);
    }
    for (const { cluster } of requestMirrorPolicies) names.add(cluster);
  }
  return [...names];
}
