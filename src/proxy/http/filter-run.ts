/**
 * How far a stream has come through its filters. A filter that waits suspends the stream by state:
 * it takes a ticket, and whoever answers it later shows that. A ticket is good once, for the pause it
 * was made for: an answer that comes too late (the client is gone, the time is over, the stream has
 * another request) changes nothing. While a stream is suspended, its body is kept up to a limit, and
 * then the client is told to stop.
 */
import { disabledFilter } from "../engine/filter-overrides.ts";
import { Deadline, type DeadlineOwner } from "./deadline-wheel.ts";
import type { BodyReader, FilterStream, HttpFilter, PauseTicket, StreamPauses } from "./filter.ts";
import type { FilterList } from "./filter-list.ts";
import type { RequestBody } from "./request-body.ts";
import type { Upstreams } from "./upstreams.ts";

/** Whose filters these are. */
export interface FilteredStream extends FilterStream {
  readonly isActive: boolean;
  readonly body: RequestBody;
  /** Tells a client that waits to send its body. */
  passContinue(): void;
  /** All filters have let it pass. */
  onFiltered(): void;
  /** What was gathered for the upstream in this turn can leave. */
  flushRequest(): void;
}

const none: readonly HttpFilter[] = [];

export class FilterRun implements StreamPauses, DeadlineOwner {
  readonly #stream: FilteredStream;
  readonly #configured: FilterList;
  /** Those of this request, whatever is configured meanwhile. */
  filters: readonly HttpFilter[] = none;
  readonly #upstreams: Upstreams;
  readonly #delay: Deadline = new Deadline(this);
  #at = 0;
  /** Grows with every pause and every end, so that no ticket is ever good twice. */
  #ticket = 0;
  #isPaused = false;
  /** Of the filter that waits for the body. */
  #bodyReader: BodyReader | undefined;

  constructor(stream: FilteredStream, configured: FilterList, upstreams: Upstreams) {
    this.#stream = stream;
    this.#configured = configured;
    this.#upstreams = upstreams;
  }

  /** A new request. */
  begin(): void {
    this.filters = this.#configured.list;
    this.reset();
  }

  /** The end of one. */
  reset(): void {
    this.#at = 0;
    this.#delay.disarm();
    this.#endPause();
  }

  /** From the next filter on. */
  run(): void {
    const stream = this.#stream;
    const { filters } = this;
    while (this.#at < filters.length) {
      const filter = filters[this.#at++];
      if (filter === undefined || stream.override(filter.name) === disabledFilter) continue;
      if (filter.onRequest(stream) !== "continue") return;
    }
    stream.onFiltered();
  }

  pause(): PauseTicket {
    this.#isPaused = true;
    return ++this.#ticket;
  }

  isPaused(ticket: PauseTicket): boolean {
    return this.#isPaused && ticket === this.#ticket && this.#stream.isActive;
  }

  resume(ticket: PauseTicket): boolean {
    if (!this.isPaused(ticket)) return false;
    this.#endPause();
    this.run();
    this.#stream.flushRequest();
    return true;
  }

  resumeAfter(delayMs: number): void {
    this.#upstreams.wheel.arm(this.#delay, delayMs);
  }

  onDeadline(): void {
    if (this.#stream.isActive) this.resume(this.pause());
  }

  readBody(reader: BodyReader, bytes: number): void {
    const { body } = this.#stream;
    body.bytesMax = Math.max(body.bytesMax, bytes);
    this.#bodyReader = reader;
    this.#stream.passContinue();
  }

  /** More of the body is there, or its end. */
  onBody(): void {
    this.#bodyReader?.onRequestBody(this.#stream);
  }

  /** The connection is gone. */
  release(): void {
    this.#upstreams.wheel.release(this.#delay);
  }

  #endPause(): void {
    this.#isPaused = false;
    this.#bodyReader = undefined;
  }
}
