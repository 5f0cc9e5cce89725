/**
 * What was learnt of destinations whose protocol nobody declared: a server that speaks first is not waited
 * for again, and clients of one that speaks HTTP may take their time. One for each thread; bounded, and
 * forgotten when it was not confirmed for a while. Says nothing of what a destination must speak.
 */
import type { Clock } from "../../base/clock.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";
import { inspectHttp, isHttpAnswer } from "../../wire/http-inspect.ts";
import type { FirstWords } from "../connection-home.ts";

export type Learnt = "server-first" | "http";

/** By what a connection's protocol was known. */
export type DecidedBy = "first_bytes" | "memory" | "bound" | "declared";

const entriesMax = 4096;
/** Without confirmation; a port that begins to speak another protocol is learnt anew by then. */
const keepMs = 600_000;
const destinationsMax = 256;

interface Entry {
  readonly learnt: Learnt;
  readonly untilMs: number;
}

export class DetectionMemory {
  readonly #clock: Clock;
  readonly #metrics: MetricRegistry;
  readonly #evicted: Counter;
  readonly #unnoted: Counter;
  /** By `address:port`; the one that was confirmed longest ago comes first. */
  readonly #entries = new Map<string, Entry>();
  readonly #decided = new Map<string, Counter>();
  readonly #noted = new Map<string, Counter>();

  constructor(clock: Clock, metrics: MetricRegistry) {
    this.#clock = clock;
    this.#metrics = metrics;
    this.#evicted = metrics.counter(
      "heddle_detection_memory_evicted_total",
      "Destinations whose protocol was forgotten because too many others are remembered",
    );
    this.#unnoted = metrics.counter(
      "heddle_protocol_seen_overflow_total",
      "Connections that are missing in heddle_protocol_seen_total: it has too many destinations",
    );
  }

  get size(): number {
    return this.#entries.size;
  }

  of(destination: SocketAddress): Learnt | undefined {
    const key = formatSocketAddress(destination);
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (entry.untilMs > this.#clock.monotonicMs()) return entry.learnt;
    this.#entries.delete(key);
    return undefined;
  }

  learn(destination: SocketAddress, learnt: Learnt): void {
    const key = formatSocketAddress(destination);
    this.#entries.delete(key);
    if (this.#entries.size >= entriesMax) {
      for (const [oldest] of this.#entries) {
        this.#entries.delete(oldest);
        this.#evicted.add();
        break;
      }
    }
    this.#entries.set(key, { learnt, untilMs: this.#clock.monotonicMs() + keepMs });
  }

  forget(destination: SocketAddress): void {
    this.#entries.delete(formatSocketAddress(destination));
  }

  /**
   * Who spoke first on a connection on which nobody had when it was passed on. A client may ask by HTTP what
   * speaks something else: only an answer shows that it does not. Returns who wants to hear what follows.
   */
  onFirstWords(
    destination: SocketAddress,
    ...[by, words]: Parameters<FirstWords>
  ): FirstWords | undefined {
    if (by === "server") this.learn(destination, "server-first");
    else if (inspectHttp(words).kind === "http") return this.#answerFrom(destination);
    else this.forget(destination);
    return undefined;
  }

  #answerFrom(destination: SocketAddress): FirstWords {
    const listen: FirstWords = (by, words) => {
      if (by === "client") return listen;
      if (isHttpAnswer(words)) this.learn(destination, "http");
      return undefined;
    };
    return listen;
  }

  /** Of one connection. */
  count(by: DecidedBy, protocol: "tls" | "http" | "tcp"): void {
    const key = `${by} ${protocol}`;
    let counter = this.#decided.get(key);
    if (counter === undefined) {
      counter = this.#metrics.counter(
        "heddle_detection_total",
        "Connections by their protocol and by what it was known",
        { decided_by: by, protocol },
      );
      this.#decided.set(key, counter);
    }
    counter.add();
  }

  /** What a connection spoke where it may not be expected; the control plane knows what is. */
  note(destination: SocketAddress, seen: string): void {
    const labels = { destination: formatSocketAddress(destination), seen };
    const key = `${labels.destination} ${seen}`;
    let counter = this.#noted.get(key);
    if (counter === undefined) {
      if (this.#noted.size >= destinationsMax) {
        this.#unnoted.add();
        return;
      }
      counter = this.#metrics.counter(
        "heddle_protocol_seen_total",
        "Connections that spoke HTTP where it is not looked for, or something else where it is",
        labels,
      );
      this.#noted.set(key, counter);
    }
    counter.add();
  }
}
