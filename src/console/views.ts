/**
 * What the console shows, as values: each view is made from the control plane's state and the
 * metrics at the moment of asking. Requests and live events use the same views.
 */
import type { Clock } from "../base/clock.ts";
import type { Problem } from "../base/problem.ts";
import { HeddleError } from "../base/error.ts";
import type { SocketAddress } from "../base/socket-address.ts";
import type { ControlPlane, ResourceFilter } from "../control/control-view.ts";
import type { MetricsSource } from "../store/metrics-source.ts";
import type {
  ConfigAnswer,
  GraphAnswer,
  MetricsHealth,
  ServiceAnswer,
  ServiceSummary,
  StatusAnswer,
  WorkloadSummary,
} from "./api.ts";
import { serviceCharts } from "./traffic/charts.ts";
import type { Flow } from "./traffic/flow.ts";
import { edgesOf, graphOf } from "./traffic/graph.ts";
import { readFlows } from "./traffic/read-flows.ts";
import {
  flowsTo,
  instancesOfService,
  serviceSummaries,
  workloadSummary,
} from "./traffic/services.ts";
import { statusOf } from "./traffic/status.ts";

export interface ConsoleMetrics {
  readonly source: MetricsSource;
  readonly intervalMs: number;
  readonly retentionMs: number;
  /** Undefined for an external system, which has its own way to say. */
  health(): Omit<MetricsHealth, "source"> | undefined;
}

export interface ViewOptions {
  readonly mesh: string;
  readonly version: string;
  readonly controlPlane: ControlPlane;
  readonly metrics: ConsoleMetrics;
  readonly clock: Clock;
  readonly consoleAddress: () => SocketAddress | undefined;
  /** What this way of running cannot enforce, a sentence each; asked anew each time. */
  readonly limitations: () => readonly string[];
}

export interface Views {
  status(windowMs: number): Promise<StatusAnswer>;
  graph(windowMs: number): Promise<GraphAnswer>;
  services(windowMs: number): Promise<readonly ServiceSummary[]>;
  /** Throws `console.not-found`. */
  service(namespace: string, name: string, windowMs: number): Promise<ServiceAnswer>;
  workloads(): readonly WorkloadSummary[];
  config(filter: ResourceFilter): ConfigAnswer;
}

const chartSteps = 90;
const scrapesMin = 4;

export function createViews(options: ViewOptions): Views {
  const { controlPlane, metrics, clock } = options;
  const flows = flowCache(options);
  const graph = async (windowMs: number): Promise<GraphAnswer> => {
    const { read, failure } = await flows(windowMs);
    const workloads = controlPlane.workloads();
    const answer = graphOf({ flows: read, workloads, atMs: clock.nowMs(), windowMs });
    const emptyReason = read.length > 0 ? undefined : (failure ?? whyEmpty(options));
    return emptyReason === undefined ? answer : { ...answer, emptyReason };
  };
  return {
    status: async (windowMs) => {
      const { read, failure } = await flows(windowMs);
      const health = metricsHealth(metrics, failure);
      return statusOf({ ...options, metricsHealth: health, flows: read, windowMs });
    },
    graph,
    services: async (windowMs) =>
      serviceSummaries(controlPlane.workloads(), (await flows(windowMs)).read, windowMs),
    service: async (namespace, name, windowMs) => {
      const { read } = await flows(Math.min(windowMs, 60_000));
      return serviceView(options, { namespace, name }, { windowMs, flows: read });
    },
    workloads: () => (controlPlane.workloads()?.instances ?? []).map(workloadSummary),
    config: (filter) => ({
      resources: controlPlane.resources(filter),
      problems: controlPlane.problems().toSorted(errorsFirst),
    }),
  };
}

interface FlowReading {
  readonly read: readonly Flow[];
  /** Why nothing could be read. */
  readonly failure: string | undefined;
}

interface CachedReading {
  readonly atMs: number;
  readonly flows: Promise<FlowReading>;
  isPending: boolean;
  /** Begins when this one has ended, for whoever asks meanwhile. */
  next: Promise<FlowReading> | undefined;
}

/**
 * Several views of one moment share one reading of the metrics; there is one at a time and one to
 * come, however long a source takes.
 */
function flowCache(options: ViewOptions): (windowMs: number) => Promise<FlowReading> {
  const { clock } = options;
  const shareMs = 500;
  const cached = new Map<number, CachedReading>();
  const start = (windowMs: number): Promise<FlowReading> => {
    const atMs = clock.nowMs();
    const flows = readOnce(options, { atMs, windowMs });
    const reading: CachedReading = { atMs, flows, isPending: true, next: undefined };
    const settle = (): void => {
      reading.isPending = false;
    };
    flows.then(settle, settle);
    if (cached.size > 32) cached.clear();
    cached.set(windowMs, reading);
    return flows;
  };
  return (windowMs) => {
    const known = cached.get(windowMs);
    if (known === undefined) return start(windowMs);
    const ageMs = clock.nowMs() - known.atMs;
    if (ageMs >= 0 && ageMs < shareMs) return known.flows;
    if (!known.isPending) return start(windowMs);
    const begin = (): Promise<FlowReading> => start(windowMs);
    known.next ??= known.flows.then(begin, begin);
    return known.next;
  };
}

/** Metrics that are out of reach leave the figures out; everything else is still known. */
async function readOnce(
  { metrics, controlPlane }: ViewOptions,
  { atMs, windowMs }: { readonly atMs: number; readonly windowMs: number },
): Promise<FlowReading> {
  const workloads = controlPlane.workloads();
  // Rates need some scrapes to be made of.
  const readMs = Math.max(windowMs, metrics.intervalMs * scrapesMin);
  try {
    const read = await readFlows({ source: metrics.source, workloads, atMs, windowMs: readMs });
    return { read, failure: undefined };
  } catch (error) {
    if (!(error instanceof HeddleError)) throw error;
    return { read: [], failure: error.message };
  }
}

async function serviceView(
  { controlPlane, metrics, clock }: ViewOptions,
  service: { readonly namespace: string; readonly name: string },
  { windowMs, flows }: { readonly windowMs: number; readonly flows: readonly Flow[] },
): Promise<ServiceAnswer> {
  const workloads = controlPlane.workloads();
  const flowWindowMs = Math.min(windowMs, 60_000);
  const matches = (one: { readonly namespace: string; readonly name: string }): boolean =>
    one.namespace === service.namespace && one.name === service.name;
  const declaration = workloads?.services.find(matches);
  const summary = serviceSummaries(workloads, flows, flowWindowMs).find(matches);
  if (workloads === undefined || declaration === undefined || summary === undefined) {
    throw new HeddleError(
      "console.not-found",
      `there is no service ${service.name} in namespace ${service.namespace}`,
    );
  }
  const stepMs = Math.max(metrics.intervalMs, Math.ceil(windowMs / chartSteps / 1000) * 1000);
  // Whole steps, so that the lines do not tremble from one refresh to the next.
  const endMs = Math.floor(clock.nowMs() / stepMs) * stepMs;
  const range = { startMs: endMs - Math.floor(windowMs / stepMs) * stepMs, endMs, stepMs };
  const instances = instancesOfService(declaration, workloads.instances);
  const isOwn = new Set(instances.map((one) => `${one.namespace}/${one.workload}`));
  const inbound = edgesOf(flowsTo(flows, service), flowWindowMs);
  const outbound = edgesOf(
    flows.filter(({ source }) => isOwn.has(`${source.namespace}/${source.name}`)),
    flowWindowMs,
  );
  const ends = new Set([...inbound, ...outbound].flatMap((edge) => [edge.source, edge.target]));
  const graph = graphOf({ flows, workloads, atMs: clock.nowMs(), windowMs: flowWindowMs });
  return {
    summary,
    windowMs,
    stepMs,
    charts: await serviceCharts({
      source: metrics.source,
      service,
      range,
      rateWindowMs: Math.max(30_000, stepMs * 2, metrics.intervalMs * scrapesMin),
    }),
    inbound,
    outbound,
    nodes: graph.nodes.filter(({ id }) => ends.has(id)),
    workloads: instances.map(workloadSummary),
  };
}

function metricsHealth(metrics: ConsoleMetrics, failure: string | undefined): MetricsHealth {
  const own = metrics.health();
  const said = { source: metrics.source.name, ...(failure === undefined ? {} : { failure }) };
  if (own !== undefined) return { ...said, ...own };
  const nothing = { targets: 0, targetsUp: 0, series: 0, droppedSeries: 0, failures: {} };
  return { ...said, ...nothing, staleMs: undefined };
}

/** The cause, looked for where figures come from, in the order they come. */
function whyEmpty({ controlPlane, metrics }: ViewOptions): string | undefined {
  const workloads = controlPlane.workloads();
  const health = metrics.health();
  if (workloads === undefined || workloads.instances.length === 0) {
    return "Nothing runs yet. Workloads appear here as soon as they start.";
  }
  if (health !== undefined && health.targetsUp === 0) {
    const [failure] = Object.entries(health.failures);
    const reason = failure === undefined ? "" : ` The last try, at ${failure[0]}: ${failure[1]}.`;
    return `No sidecar has answered with metrics yet.${reason}`;
  }
  if (health !== undefined && health.targetsUp < health.targets) {
    return `No traffic seen, and only ${health.targetsUp} of ${health.targets} sidecars answer with metrics.`;
  }
  return "Everything runs, and no request has been sent in this window. Send one through the gateway and it shows here.";
}

function errorsFirst(a: Problem, b: Problem): number {
  return Number(a.severity !== "error") - Number(b.severity !== "error");
}
