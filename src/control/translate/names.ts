/** The names Istio gives to clusters, listeners and routes, which tools and dashboards rely on. */

/** `outbound|80|v1|catalog.default.svc.cluster.local`. */
export function outboundClusterName(hostname: string, port: number, subset = ""): string {
  return `outbound|${port}|${subset}|${hostname}`;
}

/** The cluster for bytes that are not HTTP, on a port whose protocol is detected: `outbound|80|~tcp|…`. */
export function tcpClusterName(cluster: string): string {
  const [direction = "", port = "", subset = "", hostname = ""] = cluster.split("|");
  return `${direction}|${port}|${subset}~tcp|${hostname}`;
}

/** Of UDP, which may have a number that TCP has, too: `outbound|53|~udp|…`. */
export function udpClusterName(hostname: string, port: number): string {
  return `outbound|${port}|~udp|${hostname}`;
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
