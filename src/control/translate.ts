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
import type { ClusterTarget, TranslatedCluster } from "./translate/clusters.ts";
import { outboundClusterNames, outboundClusters } from "./translate/clusters.ts";
import { loadAssignment } from "./translate/endpoints.ts";
import { explicitOutbound } from "./translate/explicit.ts";
import { gatewayTraffic } from "./translate/gateway.ts";
import { inboundClusters } from "./translate/inbound-clusters.ts";
import { inboundTraffic } from "./translate/inbound.ts";
import type { TranslatedListener } from "./translate/listener.ts";
import type { Keyed, MeshScope } from "./translate/mesh-scope.ts";
import { MeshScopes } from "./translate/mesh-scope.ts";
import { nameTable } from "./translate/name-table.ts";
import { capturedListeners, capturedRoutes } from "./translate/outbound.ts";
import type { ClientView, InboundView, ProxyView } from "./translate/proxy-view.ts";
import type { TranslatedRoutes } from "./translate/virtual-hosts.ts";

/** Resources by type URL. */
export type TranslatedTypes = ReadonlyMap<string, readonly EncodedResource[]>;

/** Makes one proxy's resources of the model; keeps what it made, part by part, for as long as it holds. */
export type Translate = (model: MeshModel, proxy: WorkloadInstance) => TranslatedTypes;

/** Every resource of `proxy`, which is one of the model's instances. */
export function translate(model: MeshModel, proxy: WorkloadInstance): TranslatedTypes {
  return newTranslator()(model, proxy);
}

/**
 * A translator with a memory. Proxies that may see the same share their clusters, endpoints and
 * routes; a part is made again only when something it is made from has changed (`mesh-scope.ts`). What
 * no proxy of a model used is forgotten with the next model.
 */
export function newTranslator(): Translate {
  const scopes = new MeshScopes();
  const kept = {
    clients: new Kept<ClientPart>(),
    outbound: new Kept<TrafficPart>(),
    inbound: new Kept<InboundPart>(),
    endpoints: new Kept<EncodedResource>(),
  };
  let scope: MeshScope | undefined;
  let assigned = new Map<ClientPart, readonly EncodedResource[]>();
  return (model, proxy) => {
    if (scope?.model !== model) {
      scope = scopes.scopeOf(model);
      for (const one of Object.values(kept)) one.startGeneration();
      assigned = new Map();
    }
    const client = kept.clients.get(scope.client(proxy), clientPart);
    const outbound = kept.outbound.get(scope.outbound(proxy), outboundPart);
    const isGateway = proxy.role === "gateway";
    const inbound = isGateway ? nothing : kept.inbound.get(scope.inbound(proxy), inboundPart);
    const endpoints =
      assigned.get(client) ?? client.targets.map((one) => assignment(model, one, kept.endpoints));
    assigned.set(client, endpoints);
    return new Map([
      [typeUrls.cluster, [...client.clusters, ...inbound.clusters]],
      [typeUrls.endpoint, endpoints],
      [typeUrls.listener, [...outbound.listeners, ...inbound.listeners]],
      [typeUrls.route, [...client.routes, ...outbound.routes, ...inbound.routes]],
      [typeUrls.nameTable, [client.names]],
    ]);
  };
}

interface ClientPart {
  readonly clusters: readonly EncodedResource[];
  readonly targets: readonly EndpointTarget[];
  readonly routes: readonly EncodedResource[];
  readonly names: EncodedResource;
}

interface EndpointTarget extends ClusterTarget {
  readonly clusterName: string;
  readonly origins: readonly ResourceRef[];
}

interface TrafficPart {
  readonly listeners: readonly EncodedResource[];
  readonly routes: readonly EncodedResource[];
}

interface InboundPart extends TrafficPart {
  readonly clusters: readonly EncodedResource[];
}

const nothing: InboundPart = { clusters: [], listeners: [], routes: [] };

function clientPart(view: ClientView): ClientPart {
  const clusters = outboundClusters(view);
  const names = clusterNames(clusters);
  return {
    clusters: clusters.map(encodeCluster),
    targets: clusters.flatMap(({ cluster, origins, target }) =>
      target?.usesEds === true
        ? [{ ...target, clusterName: cluster.name, origins: distinct(origins) }]
        : [],
    ),
    routes: (view.capture === "transparent" ? capturedRoutes(view) : []).map((one) =>
      encodeRoutes(one, names),
    ),
    names: encodedResource("names", toBinary(NameTableSchema, nameTable(view))),
  };
}

function outboundPart(view: ProxyView): TrafficPart {
  if (view.capture === "transparent") {
    return { listeners: capturedListeners(view).map(encodeListener), routes: [] };
  }
  const traffic = view.capture === "gateway" ? gatewayTraffic(view) : explicitOutbound(view);
  const names = outboundClusterNames(view);
  return {
    listeners: traffic.listeners.map(encodeListener),
    routes: traffic.routes.map((one) => encodeRoutes(one, names)),
  };
}

function inboundPart(view: InboundView): InboundPart {
  const clusters = inboundClusters(view);
  const { listeners, routes } = inboundTraffic(view);
  const names = clusterNames(clusters);
  return {
    clusters: clusters.map(encodeCluster),
    listeners: listeners.map(encodeListener),
    routes: routes.map((one) => encodeRoutes(one, names)),
  };
}

/** Encoded anew for every model, which costs little, but the same object while it says the same. */
function assignment(
  model: MeshModel,
  target: EndpointTarget,
  kept: Kept<EncodedResource>,
): EncodedResource {
  const { clusterName, service, origins } = target;
  const endpoints = model.services.get(service.hostname)?.endpoints ?? [];
  const message = loadAssignment(clusterName, model, { ...target, endpoints });
  const bytes = toBinary(ClusterLoadAssignmentSchema, message);
  const resource = encodedResource(clusterName, bytes, { origins });
  const made = origins.map((ref) => `${ref.kind}/${ref.namespace}/${ref.name}`).join();
  const key = `${clusterName} ${resource.version} ${made}`;
  return kept.get({ key, view: () => resource }, (same) => same);
}

function clusterNames(clusters: readonly TranslatedCluster[]): ReadonlySet<string> {
  return new Set(clusters.map((one) => one.cluster.name));
}

function encodeListener({ listener, origins, routeNames }: TranslatedListener): EncodedResource {
  return encode(ListenerSchema, listener, { references: routeNames, origins: distinct(origins) });
}

function encodeRoutes(
  { routes, origins }: TranslatedRoutes,
  names: ReadonlySet<string>,
): EncodedResource {
  return encode(RouteConfigurationSchema, routes, {
    references: clustersOf(routes).filter((name) => names.has(name)),
    origins: distinct(origins),
  });
}

/** Results by key; those that the last two generations did not ask for are forgotten. */
class Kept<Result> {
  #last = new Map<string, Result>();
  #current = new Map<string, Result>();

  startGeneration(): void {
    this.#last = this.#current;
    this.#current = new Map();
  }

  get<View>({ key, view }: Keyed<View>, make: (view: View) => Result): Result {
    const known = this.#current.get(key) ?? this.#last.get(key) ?? make(view());
    this.#current.set(key, known);
    return known;
  }
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
