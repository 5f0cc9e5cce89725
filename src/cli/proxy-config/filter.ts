import { parseClusterName } from "./cluster-name.ts";

/** What `--fqdn --port --subset --direction --name --cluster` ask for; absent matches everything. */
export interface ViewFilter {
  readonly fqdn?: string;
  readonly port?: string;
  readonly subset?: string;
  readonly direction?: string;
  readonly name?: string;
  readonly cluster?: string;
}

/** Whether a cluster, or an endpoint of it, is asked for. Names that aren't Istio's have no parts. */
export function matchesCluster(filter: ViewFilter, name: string): boolean {
  const parts = parseClusterName(name);
  return (
    (filter.cluster === undefined || filter.cluster === name) &&
    (filter.name === undefined || filter.name === name) &&
    (filter.fqdn === undefined || (parts?.fqdn ?? name) === filter.fqdn) &&
    (filter.port === undefined || parts?.port === filter.port) &&
    (filter.subset === undefined || parts?.subset === filter.subset) &&
    (filter.direction === undefined || parts?.direction === filter.direction)
  );
}
