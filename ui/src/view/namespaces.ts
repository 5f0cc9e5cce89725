import type { GraphAnswer } from "../../../src/console/api.ts";

/** Every namespace something runs in, sorted. */
export function namespacesOf(graph: Pick<GraphAnswer, "nodes">): readonly string[] {
  return [...new Set(graph.nodes.map(({ namespace }) => namespace))]
    .filter((one) => one !== "")
    .toSorted();
}

/** The nodes of one namespace, whoever talks to them, and whom they talk to. */
export function filterByNamespace(graph: GraphAnswer, namespace: string): GraphAnswer {
  if (namespace === "") return graph;
  const own = new Set(
    graph.nodes.filter((node) => node.namespace === namespace).map(({ id }) => id),
  );
  const edges = graph.edges.filter(({ source, target }) => own.has(source) || own.has(target));
  const near = new Set([...own, ...edges.flatMap(({ source, target }) => [source, target])]);
  return { ...graph, edges, nodes: graph.nodes.filter(({ id }) => near.has(id)) };
}
