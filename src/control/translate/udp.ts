/**
 * UDP to services, for Heddle's proxy beside captured workloads: a listener on each service's own addresses
 * and a cluster behind it. Nothing encrypts it, so endpoints whose port asks for mutual TLS are left out
 * (docs/decisions/0028). Envoy gets none of it: what it sends could not be told from the application's.
 */
import { create } from "@bufbuild/protobuf";

import { udpLoggers } from "../../telemetry/standard-metrics.ts";
import {
  Cluster_DiscoveryType,
  Cluster_DnsLookupFamily,
  ClusterSchema,
} from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import {
  type Address,
  SocketAddress_Protocol,
} from "../../wire/gen/es/envoy/config/core/v3/address_pb.ts";
import { TrafficDirection } from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import { ListenerSchema } from "../../wire/gen/es/envoy/config/listener/v3/listener_pb.ts";
import { RouteSchema } from "../../wire/gen/es/envoy/extensions/filters/udp/udp_proxy/v3/route_pb.ts";
import { UdpProxyConfigSchema } from "../../wire/gen/es/envoy/extensions/filters/udp/udp_proxy/v3/udp_proxy_pb.ts";
import type { MeshPort, ServiceShape } from "../mesh-model.ts";
import { destinationRuleFor, policyFor } from "../mesh/destination-rules.ts";
import { hasCapturedAddress } from "../mesh/udp.ts";
import { statsLog } from "./access-log.ts";
import { policyFields } from "./cluster-policy.ts";
import type { TranslatedCluster } from "./clusters.ts";
import { loadAssignment } from "./endpoints.ts";
import type { TranslatedListener } from "./listener.ts";
import { clusterMetadata, peerLabelsOf } from "./metadata.ts";
import { listenerName, udpClusterName } from "./names.ts";
import { adsSource, any, duration, socketAddress, typedConfig } from "./proto.ts";
import type { ClientView, ProxyView } from "./proxy-view.ts";
import { refOf } from "./proxy-view.ts";

interface UdpPort {
  readonly service: ServiceShape;
  readonly port: MeshPort;
}

/** Services whose datagrams capture brings to the proxy. */
function udpPorts(view: ClientView): UdpPort[] {
  if (view.capture !== "transparent" || view.proxy.dataPlane !== "heddle") return [];
  return view.services
    .filter((service) => hasCapturedAddress(service) && service.resolution !== "none")
    .flatMap((service) =>
      service.ports.filter(({ protocol }) => protocol === "udp").map((port) => ({ service, port })),
    );
}

export function udpClusters(view: ClientView): TranslatedCluster[] {
  return udpPorts(view).map((one) => udpCluster(view, one));
}

function udpCluster(view: ClientView, { service, port }: UdpPort): TranslatedCluster {
  const rule = destinationRuleFor(view.model, service, view.proxy);
  const name = udpClusterName(service.hostname, port.number);
  const isStatic = service.resolution === "static";
  const type = (value: Cluster_DiscoveryType) => ({ case: "type", value }) as const;
  const target = { service, port, subset: undefined };
  const cluster = create(ClusterSchema, {
    name,
    metadata: clusterMetadata(service),
    ...policyFields({
      policy: policyFor(rule, undefined, port.number),
      spoken: "tcp",
      isBalanced: true,
      connectTimeoutMs: view.model.settings.connectTimeoutMs,
    }),
    ...(isStatic
      ? {
          clusterDiscoveryType: type(Cluster_DiscoveryType.EDS),
          edsClusterConfig: { serviceName: name, edsConfig: adsSource() },
        }
      : {
          clusterDiscoveryType: type(
            service.resolution === "dns-round-robin"
              ? Cluster_DiscoveryType.LOGICAL_DNS
              : Cluster_DiscoveryType.STRICT_DNS,
          ),
          dnsLookupFamily: view.hasIpv6
            ? Cluster_DnsLookupFamily.ALL
            : Cluster_DnsLookupFamily.V4_ONLY,
          dnsRefreshRate: duration(view.model.settings.dnsRefreshMs),
          respectDnsTtl: true,
          loadAssignment: loadAssignment(name, view.model, {
            ...target,
            endpoints: service.dnsEndpoints,
          }),
        }),
  });
  const entries = service.entry === undefined ? [] : [service.entry];
  return {
    cluster,
    origins: [...(rule?.rules ?? []), ...entries].map(refOf),
    target: { ...target, usesEds: isStatic },
  };
}

export function udpListeners(view: ProxyView): TranslatedListener[] {
  return udpPorts(view).map((one) => udpListener(view, one));
}

function udpListener(view: ProxyView, { service, port }: UdpPort): TranslatedListener {
  const [first = "", ...others] = service.addresses;
  const cluster = udpClusterName(service.hostname, port.number);
  const action = {
    name: "route",
    typedConfig: any(RouteSchema, { cluster }),
  };
  const listener = create(ListenerSchema, {
    name: `${listenerName(first, port.number)}_udp`,
    address: udpAddress(first, port.number),
    additionalAddresses: others.map((one) => ({ address: udpAddress(one, port.number) })),
    trafficDirection: TrafficDirection.OUTBOUND,
    // Capture brings what is sent there.
    bindToPort: false,
    udpListenerConfig: {},
    listenerFilters: [
      {
        name: "envoy.filters.udp_listener.udp_proxy",
        configType: typedConfig(UdpProxyConfigSchema, {
          statPrefix: cluster,
          routeSpecifier: {
            case: "matcher",
            value: { onNoMatch: { onMatch: { case: "action", value: action } } },
          },
          accessLog: udpLoggers(peerLabelsOf(view.proxy)).map(statsLog),
        }),
      },
    ],
  });
  const origins = service.entry === undefined ? [] : [refOf(service.entry)];
  return { listener, origins, routeNames: [] };
}

function udpAddress(address: string, port: number): Address {
  const built = socketAddress(address, port);
  if (built.address.case === "socketAddress") {
    built.address.value.protocol = SocketAddress_Protocol.UDP;
  }
  return built;
}
