import type { OwnNode } from "./peer-filter.ts";

/** The node that a data plane was started as. */
export function ownNodeOf(started: {
  readonly nodeId: string;
  readonly nodeMetadata?: OwnNode["metadata"];
  readonly nodeCluster?: string;
  readonly nodeZone?: string;
}): OwnNode {
  const { nodeId: id, nodeMetadata: metadata = {}, nodeCluster = "", nodeZone = "" } = started;
  return { id, metadata, cluster: nodeCluster, zone: nodeZone };
}
