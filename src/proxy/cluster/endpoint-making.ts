/** An endpoint of a cluster, made of what configuration says of its address and of the cluster. */
import { formatSocketAddress, isPipe, type SocketAddress } from "../../base/socket-address.ts";
import type { Ways } from "../../net/racing-dialler.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import { inOrder } from "./address-order.ts";
import { Endpoint, type EndpointDescription, type EndpointOptions } from "./endpoint.ts";
import type { MembersOptions } from "./members.ts";
import { targetOf } from "./passed-endpoints.ts";
import type { ClusterPlan } from "./plan.ts";

export interface EndpointMaking extends Pick<
  EndpointOptions,
  "onConnectionsOver" | "onReport" | "onSuspect" | "onLoadReport"
> {
  readonly plan: ClusterPlan;
  readonly series: ClusterSeries;
  readonly socketFor: MembersOptions["socketFor"];
}

export function makeEndpoint(description: EndpointDescription, making: EndpointMaking): Endpoint {
  const { plan, series, socketFor, ...told } = making;
  const { discovery } = plan;
  const { address, hostname, listener, metadata } = description;
  const socket = socketFor(metadata);
  const internal =
    listener === undefined
      ? undefined
      : targetOf(listener, socket?.passes, { endpoint: metadata, cluster: plan.metadata });
  const sourceAddress = sourceFor(plan, address);
  const stats = plan.tellsEndpoints
    ? series.endpoint(formatSocketAddress(address), hostname)
    : undefined;
  // Who knows better says so.
  stats?.setHealthy(true);
  return new Endpoint(
    { ...description, sourceAddress, internal, header: socket?.header },
    {
      ...told,
      hashesHostname: plan.hashesHostname,
      isNamed: discovery.kind === "dns" && !discovery.isStrict,
      waysTo: (described) => waysTo(plan, described, series),
      stats,
    },
  );
}

function sourceFor(plan: ClusterPlan, { address }: SocketAddress): string | undefined {
  if (isPipe(address)) return undefined;
  const isIpv6 = address.includes(":");
  return plan.sourceAddresses.find((one) => one.includes(":") === isIpv6);
}

function waysTo(
  plan: ClusterPlan,
  { address, others = [] }: EndpointDescription,
  series: ClusterSeries,
): Ways | undefined {
  if (others.length === 0) return undefined;
  const all = inOrder([address, ...others], plan.addressOrder);
  return {
    all: all.map((one) => ({ address: one, sourceAddress: sourceFor(plan, one) })),
    onFurther: () => series.count("upstream_cx_total"),
  };
}
