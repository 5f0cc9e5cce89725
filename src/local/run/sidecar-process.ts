/**
 * The process of one sidecar: how it is started, and the listening sockets of it that outlive it. They
 * are held here, so that whoever connects while a crashed one is started again waits instead of being
 * refused.
 */
import type { SocketKeeper } from "../../net/kept-sockets.ts";
import { KeptForSidecar } from "./kept-for-sidecar.ts";
import { KeptProcess, type KeptProcessOptions, type ProcessSpec } from "./kept-process.ts";

/**
 * Young objects of a proxy die with their request, so a small nursery costs no time, 1 MB as little as 2;
 * V8's usual one of 16 MB is 10 MB more in each sidecar at rest, and 50 MB under load. What survives is configuration: it
 * may grow by a fifth before somebody looks what of it is garbage. V8's own threads are counted for big
 * servers; there is a sidecar for each replica.
 *
 * Most of its code runs when configuration comes, a few times: Sparkplug's machine code for that is never given up,
 * nor the bytecode below it, and what is hot is compiled by V8's better compilers all the same. Code that has not
 * run since the collection before goes with the next one, and is compiled again should it be needed (0066).
 */
export const sidecarFlags: readonly string[] = [
  "--max-semi-space-size=1",
  "--heap-growing-percent=20",
  "--v8-pool-size=2",
  "--no-sparkplug",
  "--bytecode-old-age=1",
];
/**
 * With one thread that serves, one arena: what V8's compiler has freed (10 MB, for a moment) is taken
 * again, where in an arena of its threads' own it would stay. Data workers would wait for each other.
 */
export function arenasFor(workers: number): string {
  return workers === 0 ? "1" : "2";
}

const backOff = { firstMs: 50, longestMs: 800, stableMs: 10_000 };
/** Of the line to us, as the sidecar sees it. */
const lineDescriptor = 4;

export interface SidecarProcessOptions extends Pick<
  KeptProcessOptions,
  "log" | "clock" | "onStart" | "onExit"
> {
  /** How a process of Heddle's own is started: the program, then the arguments before the command. */
  readonly heddle: readonly string[];
  readonly optionsFile: string;
  readonly directory: string;
  readonly environment: Readonly<Record<string, string>>;
  /** Data workers. */
  readonly concurrency: number;
  /** How to start it in its place. */
  readonly placed: (spec: ProcessSpec) => ProcessSpec;
  /** Undefined where sockets cannot be kept. */
  readonly sockets: SocketKeeper | undefined;
}

export class SidecarProcess {
  readonly #process: KeptProcess;
  readonly #sockets: KeptForSidecar | undefined;

  constructor(options: SidecarProcessOptions) {
    const { log, clock, sockets, onStart, onExit } = options;
    const kept = sockets === undefined ? undefined : new KeptForSidecar(sockets, clock);
    this.#sockets = kept;
    this.#process = new KeptProcess({
      log,
      clock,
      backOff,
      spec: () => specOf(options, kept?.openLine()),
      onStart: (started) => {
        kept?.onStarted();
        onStart?.(started);
      },
      onExit: (...ended) => {
        kept?.onEnded();
        onExit?.(...ended);
      },
    });
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  get restarts(): number {
    return this.#process.restarts;
  }

  get failures(): number {
    return this.#process.failures;
  }

  start(): void {
    this.#process.start();
  }

  restart(): void {
    this.#process.restart();
  }

  /** It serves: should it end now, it is not for something that keeps it from starting. */
  onServing(): void {
    this.#process.forgetFailures();
  }

  async stop(graceMs: number): Promise<void> {
    await this.#process.stop(graceMs);
    this.#sockets?.close();
  }
}

function specOf(options: SidecarProcessOptions, line: number | undefined): ProcessSpec {
  const { heddle, optionsFile, directory, environment, concurrency, placed } = options;
  const [program = "", ...before] = heddle;
  const command = [program, ...sidecarFlags, ...before, "sidecar", "--options", optionsFile];
  const arenas = { MALLOC_ARENA_MAX: arenasFor(concurrency) };
  const spec = { directory, environment: { ...arenas, ...environment } };
  if (line === undefined) return placed({ ...spec, command });
  const withLine = [...command, "--kept-sockets", String(lineDescriptor)];
  return placed({ ...spec, command: withLine, descriptors: [line] });
}
