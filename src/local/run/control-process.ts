/** The control plane's process: its options, its readiness, and what it is told over IPC. */
import { existsSync } from "node:fs";
import { join } from "node:path";

import type { Clock } from "../../base/clock.ts";
import type { Problem } from "../../base/problem.ts";
import type {
  ControlAppliedMessage,
  ControlOptions,
  ControlProblemsMessage,
  WorkloadsMessage,
} from "../../control/options.ts";
import { openConsoleToken } from "../console-token.ts";
import { isMessage } from "../edge/messages.ts";
import type { Placement } from "../placement.ts";
import type { SupervisorOptions } from "../supervisor-options.ts";
import { KeptProcess } from "./kept-process.ts";
import { LogFile } from "./log-file.ts";
import { makePrivateDirectory, replaceFile } from "./replace-file.ts";

export interface ControlProcessOptions {
  readonly options: SupervisorOptions;
  readonly placement: Placement;
  readonly rootNamespace: string;
  readonly clock: Clock;
  /** After each start. */
  readonly onReady: () => void;
  /** It has ended several times without having been ready; a sentence. */
  readonly onFailing: (why: string) => void;
  /** Proxies work by what was told with a revision, or later. */
  readonly onApplied: (message: ControlAppliedMessage) => void;
  /** What is wrong with the configuration has changed; all of it, but what the mesh file itself says. */
  readonly onProblems: (problems: readonly Problem[]) => void;
  readonly onProcess: (pid: number) => void;
  /** What it must know from its first moment. */
  readonly message: () => WorkloadsMessage;
}

/** After so many ends in a row nobody should wait for it. */
const failuresInVain = 3;
const backOff = { firstMs: 100, longestMs: 5000, stableMs: 10_000 };
/** Its standard descriptors and the IPC channel come first. */
const consoleDescriptorInside = 4;

export class ControlProcess {
  readonly #process: KeptProcess;
  readonly #log: LogFile;
  /** The mesh's root certificate: `openRoot` of the control plane keeps it there. */
  readonly rootFile: string;

  constructor(parts: ControlProcessOptions) {
    const { options } = parts;
    makePrivateDirectory(join(options.stateDir, "logs"));
    this.rootFile = join(options.stateDir, "ca", "root-cert.pem");
    this.#log = new LogFile(join(options.stateDir, "logs", "control.log"));
    const optionsFile = join(options.stateDir, "control.json");
    replaceFile(optionsFile, JSON.stringify(controlOptions(parts), undefined, 2));
    this.#process = new KeptProcess({
      spec: () => ({
        command: [...options.heddle, "control", "--options", optionsFile],
        // Not the user's folder, without which it could not be started again.
        directory: options.stateDir,
        environment: options.environment,
        hasChannel: true,
        descriptors: "descriptor" in options.console ? [options.console.descriptor] : [],
      }),
      log: this.#log,
      clock: parts.clock,
      backOff,
      onStart: (started) => {
        if (started.pid !== undefined) parts.onProcess(started.pid);
        started.send(parts.message());
      },
      onExit: (reason) => {
        if (this.#process.failures < failuresInVain) return;
        const words = this.#log.lastComplaint();
        const wrote = words === undefined ? "" : `; it wrote: ${words}`;
        parts.onFailing(`the control plane ${reason}${wrote}; ${this.#log.path} says more`);
      },
      onMessage: (message) => {
        if (!isMessage(message)) return;
        if (message.kind === "ready") parts.onReady();
        if (isAppliedMessage(message)) parts.onApplied(message);
        if (isProblemsMessage(message)) parts.onProblems(message.problems);
      },
    });
  }

  /** From an earlier run: sidecars need not wait for the control plane to make one. */
  get hasRootCertificate(): boolean {
    return existsSync(this.rootFile);
  }

  start(): void {
    this.#process.start();
  }

  send(message: WorkloadsMessage): void {
    this.#process.send(message);
  }

  async close(graceMs: number): Promise<void> {
    await this.#process.stop(graceMs);
    this.#log.close();
  }
}

function controlOptions(parts: ControlProcessOptions): ControlOptions {
  const { options, placement } = parts;
  return {
    mesh: options.mesh,
    configDir: options.directory,
    stateDir: options.stateDir,
    trustDomain: options.trustDomain,
    rootNamespace: parts.rootNamespace,
    secureXds: placement.control,
    plainXds: placement.plainXds,
    plainXdsSocket: join(options.stateDir, "xds.sock"),
    metrics: placement.controlMetrics,
    console: "descriptor" in options.console ? { fd: consoleDescriptorInside } : options.console,
    consoleToken: openConsoleToken(options.stateDir),
    apiSocket: join(options.stateDir, "api.sock"),
    certificateTtlMs: options.certificateTtlMs,
    logLevel: options.logLevel,
    logFormat: options.logFormat,
  };
}

function isAppliedMessage(message: object): message is ControlAppliedMessage {
  return "kind" in message && message.kind === "applied" && "revision" in message;
}

/** The channel's other end is our own program: its shape is checked as far as it tells kinds apart. */
function isProblemsMessage(message: object): message is ControlProblemsMessage {
  return (
    "kind" in message &&
    message.kind === "problems" &&
    "problems" in message &&
    Array.isArray(message.problems)
  );
}
