/** Tells a listener's loggers of one connection when it has ended, whatever has become of it. */
import type { Clock } from "../../base/clock.ts";
import type { RequestRecord, RequestSink } from "../../telemetry/request-record.ts";
import type { CountedChannel } from "./counted-channel.ts";
import type { TcpRecord } from "../tcp/tcp-record.ts";

export class ConnectionLog {
  /** What is known of a connection that nobody served. */
  responseFlags = "";
  responseCodeDetails = "";
  terminationDetails = "";
  /** Why its handshake failed. */
  transportFailureReason = "";
  counted: CountedChannel | undefined;
  readonly #sink: RequestSink;
  readonly #clock: Clock;
  readonly #startMs: number;
  readonly #startMonotonicMs: number;
  #served: RequestRecord | undefined;

  constructor(sink: RequestSink, clock: Clock) {
    this.#sink = sink;
    this.#clock = clock;
    this.#startMs = clock.nowMs();
    this.#startMonotonicMs = clock.monotonicMs();
  }

  /** What serves the connection writes here what happens to it. */
  readonly adopt = (record: RequestRecord): void => {
    this.#served = record;
  };

  /** `own` makes the record of a connection whose bytes nobody counts. */
  end(own: () => TcpRecord): void {
    this.#sink.onEnd(this.#served ?? this.#filled(own()));
  }

  #filled(record: TcpRecord): TcpRecord {
    record.startMs = this.#startMs;
    record.startMonotonicMs = this.#startMonotonicMs;
    record.durationMs = this.#clock.monotonicMs() - this.#startMonotonicMs;
    record.bytesReceived = this.counted?.bytesReceived ?? 0;
    record.bytesSent = this.counted?.bytesSent ?? 0;
    record.protocol = this.counted?.protocol ?? "";
    record.responseFlags = this.responseFlags;
    record.responseCodeDetails = this.responseCodeDetails;
    record.connectionTerminationDetails = this.terminationDetails;
    record.downstreamTransportFailureReason = this.transportFailureReason;
    return record;
  }
}
