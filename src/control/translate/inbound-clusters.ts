/** Clusters towards the proxy's own application: one per port, and one for ports nobody declared. */
import { create } from "@bufbuild/protobuf";

import {
  Cluster_DiscoveryType,
  Cluster_LbPolicy,
  ClusterSchema,
} from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import { carriedAs } from "../mesh/tcp-claims.ts";
import type { TranslatedCluster } from "./clusters.ts";
import { type BindInit, bindFields, markedBind } from "./clusters.ts";
import { policyFields, spokenTo } from "./cluster-policy.ts";
import { clusterMetadata, endpointMetadata, namedClusterMetadata } from "./metadata.ts";
import { inboundClusterName, inboundPassthroughCluster } from "./names.ts";
import { type Init, socketAddress } from "./proto.ts";
import type { InboundView } from "./proxy-view.ts";

export function inboundClusters(view: InboundView): TranslatedCluster[] {
  const declared = view.proxy.ports.map((port) => {
    const name = inboundClusterName(port.port);
    // What applications speak is theirs to say: no mesh upgrades them.
    const spoken = spokenTo(carriedAs(port.protocol), {}, { upgradesToHttp2: false });
    const service = view.portServices.get(port.port);
    const cluster = create(ClusterSchema, {
      name,
      metadata: service === undefined ? namedClusterMetadata(name) : clusterMetadata(service),
      ...policyFields({
        policy: {},
        spoken,
        isBalanced: false,
        connectTimeoutMs: view.model.settings.connectTimeoutMs,
      }),
      clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.STATIC },
      loadAssignment: {
        clusterName: name,
        endpoints: [
          {
            lbEndpoints: [
              {
                hostIdentifier: {
                  case: "endpoint",
                  value: { address: socketAddress(port.appAddress, port.appPort ?? port.port) },
                },
                metadata: endpointMetadata(view.proxy, false),
              },
            ],
          },
        ],
      },
      ...bindFields(view),
    });
    return { cluster, origins: [], target: undefined };
  });
  return view.capture === "explicit" ? declared : [...declared, passthrough(view)];
}

function passthrough(view: InboundView): TranslatedCluster {
  const cluster = create(ClusterSchema, {
    name: inboundPassthroughCluster,
    metadata: namedClusterMetadata(inboundPassthroughCluster),
    ...policyFields({
      policy: {},
      spoken: "downstream",
      isBalanced: false,
      connectTimeoutMs: view.model.settings.connectTimeoutMs,
    }),
    clusterDiscoveryType: { case: "type", value: Cluster_DiscoveryType.ORIGINAL_DST },
    lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED,
    ...passthroughBind(view),
  });
  return { cluster, origins: [], target: undefined };
}

/**
 * It dials the workload's own address, which capture would hand to the inbound listener again and
 * again; connections from these addresses it leaves alone. They are Istio's.
 */
function passthroughBind(view: InboundView): Init<typeof ClusterSchema> {
  const anyPort = (address: string) =>
    ({ address, portSpecifier: { case: "portValue", value: 0 } }) as const;
  const bind: BindInit = {
    ...markedBind(view),
    sourceAddress: anyPort("127.0.0.6"),
    ...(view.hasIpv6 ? { extraSourceAddresses: [{ address: anyPort("::6") }] } : {}),
  };
  return { upstreamBindConfig: bind };
}
