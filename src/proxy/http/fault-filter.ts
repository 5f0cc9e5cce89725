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
class PendingAbort {
  readonly abort: FaultAbort | undefined;
  readonly metadata: Fault["metadata"];

  constructor(abort: FaultAbort | undefined, metadata: Fault["metadata"]) {
    this.abort = abort;
    this.metadata = metadata;
  }
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
  let active = 0;
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
      if (active >= fault.activeMax) {
        series.overflows.add(partsOf(decision));
        return "continue";
      }
      active++;
      series.active.add(1);
      stream.filterState = new PendingAbort(decision.abort, fault.metadata);
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
      if (!(stream.filterState instanceof PendingAbort)) return;
      active--;
      series.active.add(-1);
    },
  };
  const abort: HttpFilter = {
    name,
    onRequest(stream) {
      const pending = stream.filterState;
      if (!(pending instanceof PendingAbort) || pending.abort === undefined) return "continue";
      series.aborts.add();
      tell(stream, name, pending.metadata);
      return answerAbort(stream, pending.abort);
    },
  };
  return [decide, abort];
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
