/**
 * Makes new connections at fixed times, whether earlier ones were answered or not: one request on each,
 * which its answer ends. Goes on until its standard input ends, then waits for what is under way.
 *
 *   node newcomers.ts PORT RATE
 *
 * Prints a line of JSON each quarter of a second, and a last one with what came of all. A process of its
 * own, so that nothing but the machine keeps it from its rate.
 */
import { connect } from "node:net";

export type NewcomersLine =
  | { readonly kind: "progress"; readonly answered: number }
  | ({ readonly kind: "result" } & NewcomersResult);

export interface NewcomersResult {
  readonly asked: number;
  readonly answered: number;
  /** What became of the others: the error's code, `closed`, `status 503`, `no answer`. */
  readonly failures: Readonly<Record<string, number>>;
  /** From the first connection to the last answer. */
  readonly tookMs: number;
  readonly perSecond: number;
  /** Milliseconds from when a connection was due to its answer. */
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
  /** Processor time of this process for a connection, in microseconds. */
  readonly cpuUsEach: number;
}

/** More are not open at the same time: what is due then waits, and its time counts. */
const openMax = 1000;
/** Only what hangs takes so long: on a busy machine a thousand wait for their turn. */
const answerMaxMs = 120_000;
const tellMs = 250;

class Newcomers {
  readonly #port: number;
  readonly #rate: number;
  readonly #request: Buffer;
  readonly #startMs = performance.now();
  readonly #delays: number[] = [];
  readonly #failures: Record<string, number> = {};
  readonly #progress: NodeJS.Timeout;
  #asked = 0;
  #open = 0;
  #isStopped = false;

  constructor(port: number, rate: number) {
    this.#port = port;
    this.#rate = rate;
    const head = `GET /new HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\nconnection: close\r\n\r\n`;
    this.#request = Buffer.from(head, "latin1");
    this.#progress = setInterval(() => this.#tellProgress(), tellMs);
    this.#tick();
  }

  stop(): void {
    this.#isStopped = true;
    this.#endWhenOver();
  }

  #tick(): void {
    if (this.#isStopped) return;
    const due = ((performance.now() - this.#startMs) * this.#rate) / 1000;
    while (this.#asked < due && this.#open < openMax) {
      this.#ask(this.#startMs + (this.#asked++ * 1000) / this.#rate);
    }
    setTimeout(() => this.#tick(), 1);
  }

  #ask(dueMs: number): void {
    this.#open++;
    let answer = "";
    let failure: string | undefined;
    const socket = connect({ port: this.#port, host: "127.0.0.1", noDelay: true });
    socket.setTimeout(answerMaxMs, () => {
      failure = "no answer";
      socket.destroy();
    });
    socket.write(this.#request);
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString("latin1")));
    socket.on("error", (error: NodeJS.ErrnoException) => (failure ??= error.code ?? "error"));
    socket.on("close", () => {
      const [, status] = /^HTTP\/1\.1 (\d+)[^]*\r\n\r\n/.exec(answer) ?? [];
      failure ??=
        status === undefined ? "closed" : status === "200" ? undefined : `status ${status}`;
      if (failure === undefined) this.#delays.push(performance.now() - dueMs);
      else this.#failures[failure] = (this.#failures[failure] ?? 0) + 1;
      this.#open--;
      this.#endWhenOver();
    });
  }

  #tellProgress(): void {
    tell({ kind: "progress", answered: this.#delays.length });
  }

  #endWhenOver(): void {
    if (!this.#isStopped || this.#open > 0) return;
    clearInterval(this.#progress);
    tell({ kind: "result", ...this.#result() });
  }

  #result(): NewcomersResult {
    const { user, system } = process.cpuUsage();
    const sorted = this.#delays.toSorted((a, b) => a - b);
    const tookMs = performance.now() - this.#startMs;
    const at = (share: number): number => sorted[Math.floor(sorted.length * share)] ?? 0;
    return {
      asked: this.#asked,
      answered: sorted.length,
      failures: this.#failures,
      tookMs,
      perSecond: (sorted.length * 1000) / tookMs,
      p50: at(0.5),
      p99: at(0.99),
      max: sorted.at(-1) ?? 0,
      cpuUsEach: (user + system) / Math.max(1, sorted.length),
    };
  }
}

function tell(line: NewcomersLine): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const [port = 0, rate = 0] = process.argv.slice(2).map(Number);
const newcomers = new Newcomers(port, rate);
process.stdin.resume();
process.stdin.once("end", () => newcomers.stop());
