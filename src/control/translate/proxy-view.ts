/**
 * What translation works with. A view holds the key of what is made from it and nothing else
 * (`mesh-scope.ts`), so that a result kept under that key cannot depend on something the key misses.
 */
import type { ResourceRef } from "../../base/problem.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshShape, ServiceShape } from "../mesh-model.ts";
import { isVisible } from "../mesh/lookup.ts";
import { blackHoleCluster, passthroughCluster } from "./names.ts";

/** For what is the same for every caller of a namespace: clusters and outbound routes. */
export interface ClientView {
  readonly model: MeshShape;
  readonly proxy: ClientProxy;
  /** Visible services, in order of hostname. */
  readonly services: readonly ServiceShape[];
  readonly capture: "transparent" | "explicit" | "gateway";
  readonly hasIpv6: boolean;
  /** Where traffic to unknown destinations goes. */
  readonly fallbackCluster: string;
}

/** `labels` are those that some rule asks for. */
export type ClientProxy = Pick<WorkloadInstance, "namespace" | "labels" | "dataPlane">;

/** For what is one proxy's own: listeners, and a gateway's routes. */
export interface ProxyView extends ClientView {
  readonly proxy: OwnProxy;
}

/** A workload instance without its state, which changes while the proxy's resources do not. */
export type OwnProxy = Pick<
  WorkloadInstance,
  | "name"
  | "workload"
  | "namespace"
  | "serviceAccount"
  | "labels"
  | "role"
  | "addresses"
  | "ports"
  | "capture"
  | "localDestinations"
  | "dataPlane"
  | "sidecarPorts"
>;

export interface InboundView extends ProxyView {
  /** The service whose metrics a port of the application counts for. */
  readonly portServices: ReadonlyMap<number, ServiceName>;
}

export type ServiceName = Pick<ServiceShape, "hostname" | "name" | "namespace">;

export type Capture = ClientView["capture"];

export function captureOf(proxy: Pick<WorkloadInstance, "role" | "capture">): Capture {
  return proxy.role === "gateway" ? "gateway" : proxy.capture;
}

export function hasIpv6({ addresses }: Pick<WorkloadInstance, "addresses">): boolean {
  return addresses.some((address) => address.includes(":"));
}

export function viewOf<Proxy extends ClientProxy>(
  model: MeshShape,
  proxy: Proxy,
  at: Pick<ClientView, "capture" | "hasIpv6">,
): ClientView & { readonly proxy: Proxy } {
  const allowsAny = model.settings.outboundTrafficPolicy === "ALLOW_ANY";
  return {
    model,
    proxy,
    services: [...model.services.values()].filter((service) =>
      isVisible(service.exportTo, service.namespace, proxy.namespace),
    ),
    capture: at.capture,
    hasIpv6: at.hasIpv6,
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
