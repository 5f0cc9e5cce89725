/**
 * Entries of the access log about requests that go on, as `access_log_options` asks: when one has come, now
 * and then, and when it has become a tunnel. The first filter of a chain that wants any.
 */
import type { EntryType, RequestSink } from "../../telemetry/request-record.ts";
import type { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";
import { Deadline, type DeadlineOwner, type DeadlineWheel } from "./deadline-wheel.ts";
import type { FilterStream, HttpFilter } from "./filter.ts";

interface Moments {
  readonly onRequest: boolean;
  readonly onTunnel: boolean;
  /** 0 is never. */
  readonly intervalMs: number;
}

/** None where nothing is asked for. */
export function createLogMoments(
  config: HttpConnectionManager,
  sink: RequestSink | undefined,
  wheel: DeadlineWheel,
): readonly HttpFilter[] {
  const moments = compileMoments(config);
  const { intervalMs, onRequest, onTunnel } = moments;
  if (sink === undefined || (intervalMs === 0 && !onRequest && !onTunnel)) return [];
  const running = new WeakMap<FilterStream, PeriodicEntries>();
  const filter: HttpFilter = {
    name: "",
    onRequest(stream) {
      if (onRequest) tell(sink, stream, "DownstreamStart", wheel);
      if (intervalMs > 0) running.set(stream, new PeriodicEntries(stream, sink, wheel, intervalMs));
      return "continue";
    },
    onResponse(stream) {
      if (onTunnel && stream.upgrade !== "") {
        tell(sink, stream, "DownstreamTunnelSuccessfullyEstablished", wheel);
      }
    },
    onStreamEnd(stream) {
      running.get(stream)?.close();
      running.delete(stream);
    },
  };
  return [filter];
}

function compileMoments(config: HttpConnectionManager): Moments {
  const { accessLogOptions, accessLogFlushInterval, flushAccessLogOnNewRequest } = config;
  if (accessLogOptions === undefined) {
    return {
      onRequest: flushAccessLogOnNewRequest,
      onTunnel: false,
      intervalMs: durationMs(accessLogFlushInterval) ?? 0,
    };
  }
  if (flushAccessLogOnNewRequest || accessLogFlushInterval !== undefined) {
    refuse("access_log_options", "stands beside the fields that it replaces");
  }
  return {
    onRequest: accessLogOptions.flushAccessLogOnNewRequest,
    onTunnel: accessLogOptions.flushLogOnTunnelSuccessfullyEstablished,
    intervalMs: durationMs(accessLogOptions.accessLogFlushInterval) ?? 0,
  };
}

function tell(
  sink: RequestSink,
  { record }: FilterStream,
  ...[moment, wheel]: [moment: EntryType, wheel: DeadlineWheel]
): void {
  record.durationMs = wheel.nowMs - record.startMonotonicMs;
  sink.onMoment?.(record, moment);
}

class PeriodicEntries implements DeadlineOwner {
  readonly #stream: FilterStream;
  readonly #sink: RequestSink;
  readonly #wheel: DeadlineWheel;
  readonly #intervalMs: number;
  readonly #deadline: Deadline = new Deadline(this);

  constructor(
    stream: FilterStream,
    sink: RequestSink,
    ...[wheel, intervalMs]: [wheel: DeadlineWheel, intervalMs: number]
  ) {
    this.#stream = stream;
    this.#sink = sink;
    this.#wheel = wheel;
    this.#intervalMs = intervalMs;
    wheel.arm(this.#deadline, intervalMs);
  }

  onDeadline(): void {
    tell(this.#sink, this.#stream, "DownstreamPeriodic", this.#wheel);
    this.#wheel.arm(this.#deadline, this.#intervalMs);
  }

  close(): void {
    this.#wheel.release(this.#deadline);
  }
}
