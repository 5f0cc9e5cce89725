import type { LocalCluster } from "../cluster/local-zones.ts";

/** Who the proxy is, as its threads tell others (control planes, collectors, the next hop), and what holds for all of it. */
export interface WorkerNode {
  readonly nodeId: string;
  readonly nodeMetadata: Readonly<Record<string, unknown>>;
  readonly nodeCluster: string;
  readonly nodeZone: string;
  readonly localCluster: LocalCluster | undefined;
  /** May wait in a connection inside the proxy, in each direction, whatever its listener and cluster allow. */
  readonly internalBufferBytes: number | undefined;
  /** Of the process, for tags that name its variables. */
  readonly environment: Readonly<Record<string, string | undefined>>;
}

export type NodeOptions = Pick<WorkerNode, "nodeId"> & Partial<WorkerNode>;

export function workerNode(options: NodeOptions): WorkerNode {
  const { nodeId, nodeMetadata = {}, nodeCluster = "", nodeZone = "", environment = {} } = options;
  const { localCluster, internalBufferBytes } = options;
  const own = { nodeId, nodeMetadata, nodeCluster, nodeZone, environment };
  return { ...own, localCluster, internalBufferBytes };
}
