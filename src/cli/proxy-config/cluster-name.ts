/** `outbound|80|v1|catalog.default.svc.cluster.local` taken apart; undefined for other names. */
export interface ClusterName {
  readonly direction: string;
  readonly port: string;
  readonly subset: string;
  readonly fqdn: string;
}

export function parseClusterName(name: string): ClusterName | undefined {
  const [direction, port, subset, fqdn, ...rest] = name.split("|");
  if (port === undefined || subset === undefined || fqdn === undefined || rest.length > 0) {
    return undefined;
  }
  return { direction: direction ?? "", port, subset, fqdn };
}
