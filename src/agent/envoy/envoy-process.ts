/**
 * Runs Envoy as a child: restarts it with back-off when it ends, gives its log lines to our log, and
 * takes it down with us. How it is configured is in `bootstrap.ts`.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants } from "node:fs";

import type { Clock, Timer } from "../../base/clock.ts";
import { HeddleError } from "../../base/error.ts";
import { BoundedLog } from "../../telemetry/bounded-log.ts";
import type { Logger, LogLevel } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";

export interface EnvoyProcessOptions {
  readonly binary: string;
  readonly bootstrapFile: string;
  readonly concurrency: number;
  readonly logLevel: LogLevel;
  /** Where Envoy's standard output goes: its access log. A descriptor, or "inherit". */
  readonly stdout: number | "inherit";
  readonly clock: Clock;
  readonly log: Logger;
  /** Takes Envoy's own lines of every level: Envoy leaves out what its levels say, and they change while it runs. */
  readonly linesLog: Logger;
  readonly metrics: MetricRegistry;
}

const firstRestartMs = 100;
const longestRestartMs = 10_000;
/** A process that lived this long was well; the next restart is quick again. */
const settledMs = 10_000;

export class EnvoyProcess {
  readonly #options: EnvoyProcessOptions;
  readonly #lines: EnvoyLines;
  #child: ChildProcess | undefined;
  #timer: Timer | undefined;
  #failures = 0;
  #startedAtMs = 0;
  #lastExit: string | undefined;
  #isStopping = false;
  #onStopped: (() => void) | undefined;

  constructor(options: EnvoyProcessOptions) {
    this.#options = options;
    const { clock, linesLog: log } = options;
    this.#lines = { log, bound: new BoundedLog({ clock, log, linesPerSecond }) };
    try {
      accessSync(options.binary, constants.X_OK);
    } catch {
      throw new HeddleError("agent.envoy", `there is no Envoy to run at ${options.binary}`);
    }
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Why it does not run, when it does not. */
  get stopped(): string | undefined {
    if (this.#child !== undefined) return undefined;
    return this.#lastExit ?? "envoy has not been started";
  }

  start(): void {
    const { binary, bootstrapFile, concurrency, logLevel, stdout, clock } = this.#options;
    const valued: Readonly<Record<string, string>> = {
      "-c": bootstrapFile,
      "--concurrency": String(concurrency),
      "--log-level": envoyLevels[logLevel],
      "--log-format": "%l\t%n\t%v",
      // Connections made under an earlier configuration, of its policies above all, are told to go with
      // their next answer, and are closed after Istio's 45 seconds; by default that is ten minutes.
      "--drain-strategy": "immediate",
      "--drain-time-s": "45",
      // The access log: ten seconds, Envoy's own, are too long for people who watch.
      "--file-flush-interval-msec": "250",
    };
    const args = [...Object.entries(valued).flat(), "--disable-hot-restart"];
    const command = underParent(binary, args);
    this.#startedAtMs = clock.monotonicMs();
    const child = spawn(command.file, command.args, { stdio: ["ignore", stdout, "pipe"] });
    this.#child = child;
    relayLog(child, this.#lines);
    let hasEnded = false;
    const onEnd = (how: string): void => {
      if (hasEnded) return;
      hasEnded = true;
      this.#onExit(how);
    };
    child.once("error", (error) => onEnd(`could not be started: ${error.message}`));
    child.once("exit", (code, signal) =>
      onEnd(signal === null ? `exited with ${code}` : `was ended by ${signal}`),
    );
  }

  /** Asks it to end, and insists after `graceMs`. */
  stop(graceMs: number): Promise<void> {
    this.#isStopping = true;
    this.#lines.bound.close();
    this.#timer?.cancel();
    const child = this.#child;
    if (child === undefined) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    const kill = this.#options.clock.schedule(graceMs, () => child.kill("SIGKILL"));
    this.#onStopped = () => {
      kill.cancel();
      resolve();
    };
    child.kill("SIGTERM");
    return promise;
  }

  #onExit(how: string): void {
    const { clock, log, metrics } = this.#options;
    this.#child = undefined;
    this.#lastExit = `envoy ${how}`;
    if (this.#isStopping) {
      this.#onStopped?.();
      return;
    }
    if (clock.monotonicMs() - this.#startedAtMs > settledMs) this.#failures = 0;
    const restartMs = Math.min(firstRestartMs * 2 ** this.#failures, longestRestartMs);
    this.#failures = Math.min(this.#failures + 1, 10);
    metrics.counter("heddle_envoy_restarts_total", "Times Envoy ended by itself.").add(1);
    log.error("envoy ended", { how, restartMs });
    this.#timer = clock.schedule(restartMs, () => this.start());
  }
}

/** What Envoy calls info is what we call debug: each configuration update in several lines. */
const envoyLevels: { readonly [Level in LogLevel]: string } = {
  error: "error",
  warn: "warning",
  info: "warning",
  debug: "info",
};

/** The kernel ends the child with us, also when we are killed; where `setpriv` is not to be had, not. */
function underParent(
  binary: string,
  args: readonly string[],
): { readonly file: string; readonly args: string[] } {
  for (const setpriv of ["/usr/bin/setpriv", "/bin/setpriv"]) {
    try {
      accessSync(setpriv, constants.X_OK);
      return { file: setpriv, args: ["--pdeathsig", "SIGKILL", binary, ...args] };
    } catch {
      continue; // not there: try the next place
    }
  }
  return { file: binary, args: [...args] };
}

const lineCharsMax = 4096;
/** Peers can provoke lines, with failed handshakes above all; people who debug want more. */
const linesPerSecond = 50;

interface EnvoyLines {
  readonly log: Logger;
  readonly bound: BoundedLog;
}

/** `level<TAB>logger<TAB>text` per line; what has another shape is a warning in Envoy's own words. */
function relayLog(child: ChildProcess, { log, bound }: EnvoyLines): void {
  let rest = "";
  child.stderr?.setEncoding("utf8");
  child.stderr?.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = (lines.pop() ?? "").slice(-lineCharsMax);
    for (const line of lines) {
      if (isBounded(line) && !bound.takes()) continue;
      relayLine(line.slice(0, lineCharsMax), log);
    }
  });
}

/** Not what an operator has asked for, nor what is worst. */
function isBounded(line: string): boolean {
  return !/^(?:critical|info|debug|trace)\t/.test(line);
}

function relayLine(line: string, log: Logger): void {
  if (line.trim() === "") return;
  const [level, logger, ...words] = line.split("\t");
  const text = words.join("\t");
  if (words.length === 0) log.warn("envoy says", { text: line });
  else if (level === "critical" || level === "error") log.error("envoy says", { logger, text });
  else if (level === "warning") log.warn("envoy says", { logger, text });
  else if (level === "info") log.info("envoy says", { logger, text });
  else log.debug("envoy says", { logger, text });
}
