/** Injected delays and failures, and answers that come slowly: Envoy's `fault` filter; the engine decides, this waits and answers. */
import { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";
import type { Counter, Gauge, MetricRegistry } from "../../telemetry/metrics.ts";
import { compileFault, type Fault, type FaultAbort, type FaultDecision } from "../engine/fault.ts";
import type { FilterStream, FilterVerdict, HttpFilter } from "./filter.ts";
import { flag } from "./response-flags.ts";

export class FaultOverride {
  readonly fault: Fault;

  constructor(fault: Fault) {
    this.fault = fault;
  }
}

export function compileFaultOverride(bytes: Uint8Array, path: string): FaultOverride {
  return new FaultOverride(compileFault(HTTPFault.decode(bytes), path));
}

/** A delayed stream is resumed at the next filter: its abort is decided again by nobody. */
interface ActiveFault {
  readonly abort: FaultAbort | undefined;
  readonly metadata: Fault["metadata"];
}

export interface FaultPlace {
  readonly name: string;
  readonly path: string;
  readonly metrics: MetricRegistry;
  readonly statPrefix: string;
}

interface FaultSeries {
  readonly active: Gauge;
  readonly delays: Counter;
  readonly aborts: Counter;
  readonly limits: Counter;
  readonly overflows: Counter;
}

export function createFaultFilters(bytes: Uint8Array, place: FaultPlace): readonly HttpFilter[] {
  const { name } = place;
  const own = compileFault(HTTPFault.decode(bytes), place.path);
  const series = seriesOf(place);
  // Another filter of this kind in the chain has faults of its own.
  const active = new Map<FilterStream, ActiveFault>();
  const decide: HttpFilter = {
    name,
    onRequest(stream: FilterStream): FilterVerdict {
      const override = stream.override(name);
      const fault = override instanceof FaultOverride ? override.fault : own;
      if (!fault.canInject) return "continue";
      const cluster = stream.outcome.kind === "forward" ? stream.outcome.cluster : "";
      const decision = fault.decide(
        (header) => stream.request.header(header),
        cluster,
        stream.random,
      );
      if (decision === undefined) return "continue";
      if (active.size >= fault.activeMax) {
        series.overflows.add(partsOf(decision));
        return "continue";
      }
      active.set(stream, { abort: decision.abort, metadata: fault.metadata });
      series.active.add(1);
      if (decision.bytesPerSecond > 0) {
        series.limits.add();
        stream.answer.throttle(decision.bytesPerSecond);
      }
      if (decision.delayMs === 0) return "continue";
      series.delays.add();
      tell(stream, name, fault.metadata);
      stream.record.flags |= flag.delayInjected;
      stream.pauses.resumeAfter(decision.delayMs);
      return "wait";
    },
    onStreamEnd(stream: FilterStream): void {
      if (active.delete(stream)) series.active.add(-1);
    },
  };
  const behind: HttpFilter = {
    name,
    onRequest(stream) {
      const pending = active.get(stream);
      if (pending?.abort === undefined) return "continue";
      series.aborts.add();
      tell(stream, name, pending.metadata);
      return answerAbort(stream, pending.abort);
    },
  };
  return [decide, behind];
}

/** As Envoy: under the filter's own name. */
function tell({ request }: FilterStream, name: string, metadata: Fault["metadata"]): void {
  if (metadata !== undefined) request.addMetadata(name, metadata);
}

/** Each would have been a fault of its own. */
function partsOf({ delayMs, abort, bytesPerSecond }: FaultDecision): number {
  return [delayMs > 0, abort !== undefined, bytesPerSecond > 0].filter(Boolean).length;
}

/** After the delay, if there was one. */
function answerAbort(stream: FilterStream, abort: FaultAbort): FilterVerdict {
  if (abort.kind === "http") {
    stream.reply("fault", { status: abort.status, body: abort.body });
  } else {
    stream.reply("fault", { status: 200, grpcStatus: abort.status, body: abort.body });
  }
  return "answered";
}

function seriesOf({ metrics, statPrefix }: FaultPlace): FaultSeries {
  const labels = { http_conn_manager_prefix: statPrefix };
  const counter = (what: string, help: string): Counter =>
    metrics.counter(`envoy_http_fault_${what}`, help, labels);
  return {
    active: metrics.gauge("envoy_http_fault_active_faults", "Faults in force", labels),
    delays: counter("delays_injected", "Requests that were delayed on purpose"),
    aborts: counter("aborts_injected", "Requests that were answered with a failure on purpose"),
    limits: counter("response_rl_injected", "Answers that were slowed down on purpose"),
    overflows: counter("faults_overflow", "Faults that were one too many to be injected"),
  };
}
