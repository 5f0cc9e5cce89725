import type { LocalCluster } from "../cluster/local-zones.ts";

/** Who the proxy is, as its threads tell others: control planes, collectors, the next hop. */
export interface WorkerNode {
  readonly nodeId: string;
  readonly nodeMetadata: Readonly<Record<string, unknown>>;
  readonly nodeCluster: string;
  readonly nodeZone: string;
  readonly localCluster: LocalCluster | undefined;
  /** Of the process, for tags that name its variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export type NodeOptions = Pick<WorkerNode, "nodeId"> & Partial<WorkerNode>;

export function workerNode(options: NodeOptions): WorkerNode {
  const { nodeId, nodeMetadata = {}, nodeCluster = "", nodeZone = "", environment = {} } = options;
  const { localCluster } = options;
  return { nodeId, nodeMetadata, nodeCluster, nodeZone, environment, localCluster };
}
