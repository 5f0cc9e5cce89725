/** The names Istio gives to clusters, listeners and routes, which tools and dashboards rely on. */

/** `outbound|80|v1|catalog.default.svc.cluster.local`. */
export function outboundClusterName(hostname: string, port: number, subset = ""): string {
  return `outbound|${port}|${subset}|${hostname}`;
}

/** `inbound|8080||`; the port is the application's. */
export function inboundClusterName(port: number): string {
  return `inbound|${port}||`;
}

/** The SNI of mutual TLS between proxies: `outbound_.80_.v1_.catalog.default.svc.cluster.local`. */
export function outboundSni(hostname: string, port: number, subset = ""): string {
  return `outbound_.${port}_.${subset}_.${hostname}`;
}

export const passthroughCluster = "PassthroughCluster";
export const blackHoleCluster = "BlackHoleCluster";
export const inboundPassthroughCluster = "InboundPassthroughCluster";

/** `0.0.0.0_80`, `198.19.0.5_9000`. */
export function listenerName(address: string, port: number): string {
  return `${address}_${port}`;
}
