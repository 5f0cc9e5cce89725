/**
 * Where nodes and edges stand. Positions depend on what exists, never on figures: the layout remembers
 * everything it has seen, so what falls idle keeps its place and an update moves nothing.
 */
import { Graph, layout } from "@dagrejs/dagre";
import type { GraphAnswer } from "../../../src/console/api.ts";

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface PlacedEdge {
  readonly path: string;
  readonly label: Point;
}

export interface Placement {
  readonly width: number;
  readonly height: number;
  /** Centres. */
  readonly nodes: ReadonlyMap<string, Point>;
  readonly edges: ReadonlyMap<string, PlacedEdge>;
}

export const nodeHeight = 52;
const nameLettersMax = 28;

/** Wide enough for its name, within bounds. */
export function nodeWidth(name: string): number {
  return Math.max(150, Math.round(72 + shortName(name).length * 6.9));
}

/** The end of a long name tells more than its middle. */
export function shortName(name: string): string {
  if (name.length <= nameLettersMax) return name;
  return `${name.slice(0, 13)}…${name.slice(name.length - 14)}`;
}

const labelSize = { width: 138, height: 22 } as const;

export interface GraphLayout {
  place(graph: Pick<GraphAnswer, "nodes" | "edges">): Placement;
}

export function createGraphLayout(): GraphLayout {
  const nodes = new Map<string, string>();
  const edges = new Map<string, readonly [string, string]>();
  let placement: Placement | undefined;
  return {
    place(graph) {
      const before = nodes.size + edges.size;
      for (const { id, name } of graph.nodes) nodes.set(id, name);
      for (const { id, source, target } of graph.edges) edges.set(id, [source, target]);
      if (placement === undefined || nodes.size + edges.size !== before) {
        placement = compute([...nodes].toSorted(byId), [...edges].toSorted(byId));
      }
      return placement;
    },
  };
}

function compute(
  nodes: readonly (readonly [id: string, name: string])[],
  edges: readonly (readonly [string, readonly [string, string]])[],
): Placement {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({
    rankdir: "LR",
    nodesep: 42,
    ranksep: 14,
    edgesep: 26,
    marginx: 24,
    marginy: 24,
  });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const [id, name] of nodes) {
    graph.setNode(id, { width: nodeWidth(name), height: nodeHeight });
  }
  for (const [id, [source, target]] of edges) {
    graph.setEdge(source, target, { ...labelSize, labelpos: "c" }, id);
  }
  layout(graph);
  const names = new Map(nodes);
  const placeOf = (id: string): Box => ({
    ...pointOf(graph.node(id)),
    width: nodeWidth(names.get(id) ?? ""),
  });
  const { width = 0, height = 0 } = graph.graph();
  return {
    width,
    height,
    nodes: new Map(nodes.map(([id]) => [id, pointOf(graph.node(id))])),
    edges: new Map(
      edges.map(([id, [source, target]]) => {
        const edge = graph.edge({ v: source, w: target, name: id });
        const points = betweenSides(placeOf(source), placeOf(target), edge.points);
        return [id, { path: smoothPath(points), label: pointOf(edge) }];
      }),
    ),
  };
}

interface Box extends Point {
  readonly width: number;
}

/** Edges that go forward leave at the middle of the right side and arrive at the middle of the left. */
function betweenSides(from: Box, to: Box, points: readonly Point[]): readonly Point[] {
  const start = { x: from.x + from.width / 2, y: from.y };
  const end = { x: to.x - to.width / 2, y: to.y };
  if (end.x <= start.x) return points;
  const bends = points.slice(1, -1).filter(({ x }) => x > start.x && x < end.x);
  return [start, ...bends, end];
}

/** Through the points, straight into the ends. */
export function smoothPath(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  let path = `M${round(first.x)},${round(first.y)}`;
  let from = first;
  for (const to of rest) {
    const bend = (to.x - from.x) / 2;
    path += `C${round(from.x + bend)},${round(from.y)} ${round(to.x - bend)},${round(to.y)} ${round(to.x)},${round(to.y)}`;
    from = to;
  }
  return path;
}

function pointOf(placed: { readonly x?: number; readonly y?: number }): Point {
  return { x: round(placed.x ?? 0), y: round(placed.y ?? 0) };
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

function byId(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : 1;
}
