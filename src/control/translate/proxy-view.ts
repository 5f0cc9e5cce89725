/** What translation for one proxy works with: the model, and what this proxy may see of it. */
import type { ResourceRef } from "../../base/problem.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshModel, MeshService } from "../mesh-model.ts";
import type { PortProtocol } from "../../model/workload.ts";
import { isVisible } from "../mesh/lookup.ts";
import { blackHoleCluster, passthroughCluster } from "./names.ts";

export interface ProxyView {
  readonly model: MeshModel;
  readonly proxy: WorkloadInstance;
  /** Visible services, in order of hostname. */
  readonly services: readonly MeshService[];
  readonly capture: "transparent" | "explicit" | "gateway";
  readonly hasIpv6: boolean;
  /** Where traffic to unknown destinations goes. */
  readonly fallbackCluster: string;
}

export function proxyView(model: MeshModel, proxy: WorkloadInstance): ProxyView {
  const allowsAny = model.settings.outboundTrafficPolicy === "ALLOW_ANY";
  return {
    model,
    proxy,
    services: [...model.services.values()].filter((service) =>
      isVisible(service.exportTo, service.namespace, proxy.namespace),
    ),
    capture: proxy.role === "gateway" ? "gateway" : proxy.capture,
    hasIpv6: proxy.addresses.some((address) => address.includes(":")),
    fallbackCluster: allowsAny ? passthroughCluster : blackHoleCluster,
  };
}

/** The reference alone, without the resource behind it. */
export function refOf({ kind, namespace, name }: ResourceRef): ResourceRef {
  return { kind, namespace, name };
}

export function spiffeId(trustDomain: string, namespace: string, serviceAccount: string): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}`;
}

/**
 * How this proxy treats a port. Heddle's data plane speaks HTTP/1.1; HTTP/2 passes through it as
 * bytes, encrypted and authenticated, but not routed by request.
 */
export function protocolAt(
  view: ProxyView,
  protocol: PortProtocol,
): "http" | "http2" | "tcp" | "auto" {
  switch (protocol) {
    case "http":
    case "auto":
      return protocol;
    case "http2":
    case "grpc":
      return view.proxy.dataPlane === "envoy" ? "http2" : "tcp";
    case "tcp":
    case "tls":
    case "https":
    case "udp":
      return "tcp";
  }
}
