/** What Heddle's own proxy was started with, in the words of Envoy's Bootstrap message. */
import type { SidecarOptions } from "../../base/sidecar-options.ts";

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export function shownBootstrap({
  nodeId,
  instance,
  ports,
  control,
  ...rest
}: SidecarOptions): Json {
  const source: Json = { ads: {}, resource_api_version: "V3" };
  const adsConfig: Json = {
    api_type: "DELTA_GRPC",
    transport_api_version: "V3",
    grpc_services: [{ google_grpc: { target_uri: control.address, stat_prefix: "xds" } }],
  };
  const dnsServer = socketAddress(rest.dnsUpstream);
  return {
    node: {
      id: nodeId,
      cluster: `${instance.workload}.${instance.namespace}`,
      metadata: {
        NAME: instance.name,
        NAMESPACE: instance.namespace,
        WORKLOAD_NAME: instance.workload,
        SERVICE_ACCOUNT: instance.serviceAccount,
        LABELS: { ...instance.labels },
        INTERCEPTION_MODE: rest.capture === "transparent" ? "REDIRECT" : "NONE",
        HEDDLE_DATA_PLANE: rest.dataPlane,
      },
    },
    admin: { address: { socket_address: { address: "127.0.0.1", port_value: ports.admin } } },
    dynamic_resources: { lds_config: source, cds_config: source, ads_config: adsConfig },
    ...(dnsServer === undefined
      ? {}
      : { dns_resolution_config: { resolvers: [{ socket_address: dnsServer }] } }),
  };
}

/** `address:port` of the options file. */
function socketAddress(text: string | undefined): Json | undefined {
  if (text === undefined) return undefined;
  const { hostname, port } = new URL(`tcp://${text}`);
  return { address: hostname.replace(/^\[|\]$/g, ""), port_value: Number(port || 53) };
}
