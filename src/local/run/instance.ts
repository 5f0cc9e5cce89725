/**
 * One instance from its start to its end: place → sidecar → sidecar ready → application → ports
 * accept → ready. The sidecar and the application are restarted on their own; what the rest of the
 * mesh must know is told through `onChange`.
 */
import { createHash, randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { join } from "node:path";

import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { InstanceState, WorkloadInstance } from "../../model/workload.ts";
import type { SocketKeeper } from "../../net/kept-sockets.ts";
import { logPathsOf } from "../log-paths.ts";
import type { Place, Placement } from "../placement.ts";
import type { InstancePlan } from "../plan.ts";
import { applicationEnvironment } from "./application-environment.ts";
import { KeptProcess } from "./kept-process.ts";
import { LogFile } from "./log-file.ts";
import { askReady } from "./ready.ts";
import { makePrivateDirectory } from "./replace-file.ts";
import type { SidecarFiles, SidecarSettings } from "./sidecar-files.ts";
import { writeSidecarFiles } from "./sidecar-files.ts";
import { SidecarProcess } from "./sidecar-process.ts";
import { Silence } from "./silence.ts";

export interface InstanceOptions {
  readonly plan: InstancePlan;
  readonly placement: Placement;
  readonly settings: SidecarSettings;
  readonly clock: Clock;
  /** What an application inherits of the environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** How a process of Heddle's own is started: the program, then the arguments before the command. */
  readonly heddle: readonly string[];
  /** For the listening sockets of the sidecar; undefined where they cannot be kept. */
  readonly sockets: SocketKeeper | undefined;
  readonly onChange: () => void;
  /** Called with each process group that must not outlive the supervisor. */
  readonly onProcess: (pid: number) => void;
}

const applicationBackOff = { firstMs: 200, longestMs: 30_000, stableMs: 10_000 };
/** An application that has ended so often in a row, without having been up for a while, is not waited for. */
const failuresInVain = 2;
const sidecarFailuresInVain = 4;
/**
 * An application without ports is ready when it has run so long: nothing else tells that it has begun.
 * One that has ended before must show that it lasts.
 */
const portlessReadyMs = { first: 500, again: 3000 };
const lastWordsMs = 50;
const pollMs = { starting: 25, steady: 2000 };

export class Instance {
  readonly plan: InstancePlan;
  readonly #options: InstanceOptions;
  readonly #token: string = randomBytes(32).toString("base64url");
  #place: Place | undefined;
  #files: SidecarFiles | undefined;
  #state: InstanceState = "starting";
  #detail: string | undefined = "its network is being made";
  #sidecar: SidecarProcess | undefined;
  #application: KeptProcess | undefined;
  #logs: readonly LogFile[] = [];
  #poll: Timer | undefined;
  #mayStart: boolean;
  #isSidecarReady = false;
  readonly #silence = new Silence();
  #isClosing = false;
  /** The application has ended, and `#detail` says how. */
  #hasEnded = false;
  /** How the application ended last, until it is ready: `ended with code 1`. */
  #lastEnd: string | undefined;
  #applicationSinceMs = 0;

  constructor(options: InstanceOptions) {
    this.#options = options;
    this.plan = options.plan;
    this.#mayStart = options.plan.role === "gateway" || options.plan.after.length === 0;
  }

  get state(): InstanceState {
    return this.#state;
  }

  /** Why it is not ready, when it is not. */
  get detail(): string | undefined {
    // What it wrote last comes over a pipe, and may arrive after the news that it has ended.
    const words = this.#hasEnded ? this.#logs[0]?.lastComplaint() : undefined;
    return words === undefined ? this.#detail : `${this.#detail}; it wrote: ${words}`;
  }

  /** Its processes end again and again: waiting for it is in vain. */
  get isFailing(): boolean {
    if (this.#state === "ready") return false;
    const application = this.#application?.failures ?? 0;
    const sidecar = this.#sidecar?.failures ?? 0;
    return application >= failuresInVain || sidecar >= sidecarFailuresInVain;
  }

  /** Keys of those it still waits for, and for nothing else. */
  get waitsFor(): readonly string[] {
    const { plan } = this;
    return plan.role === "workload" && this.#isSidecarReady && !this.#mayStart ? plan.after : [];
  }

  /** For people: what it lacks, and where to look. */
  get why(): string {
    const { name } = this.plan;
    const reason = `${name}: ${this.detail ?? this.#state}`;
    if (this.#application !== undefined) return `${reason}; 'heddle logs ${name}' shows more`;
    return (this.#sidecar?.failures ?? 0) > 0
      ? `${reason}; 'heddle logs ${name} --proxy' shows more`
      : reason;
  }

  get isSidecarStarting(): boolean {
    return !this.#isClosing && this.#sidecar !== undefined && !this.#isSidecarReady;
  }

  get place(): Place | undefined {
    return this.#place;
  }

  /** Makes its place; the sidecar starts when `startSidecar` is called. Rejects with a sentence. */
  async open(): Promise<void> {
    const { placement, settings, plan } = this.#options;
    const { stateDir } = settings;
    const paths = logPathsOf(stateDir, plan.spec.namespace, plan.name);
    makePrivateDirectory(join(stateDir, "logs"));
    this.#logs = [new LogFile(paths.application), new LogFile(paths.proxy)];
    this.#place = await placement.place(plan);
    this.#files = writeSidecarFiles({ plan, place: this.#place, token: this.#token, settings });
    this.#set("starting", "its sidecar waits for the control plane");
  }

  startSidecar(): void {
    const { clock, heddle, environment, settings, sockets, onProcess } = this.#options;
    const [place, files, log] = [this.#place, this.#files, this.#logs[1]];
    if (place === undefined || files === undefined || log === undefined) return;
    if (this.#isClosing || this.#sidecar !== undefined) return;
    this.#sidecar = new SidecarProcess({
      heddle,
      optionsFile: files.optionsFile,
      directory: files.directory,
      environment,
      concurrency: settings.serving.concurrency ?? 0,
      placed: (spec) => place.sidecar(spec),
      sockets,
      log,
      clock,
      onStart: (started) => {
        if (started.pid !== undefined) onProcess(started.pid);
        this.#isSidecarReady = false;
        this.#silence.end();
        this.#schedulePoll(pollMs.starting);
      },
      onExit: (reason) => {
        this.#isSidecarReady = false;
        this.#set("restarting", `its sidecar ${reason}`);
      },
    });
    this.#set("warming", "its sidecar starts");
    this.#sidecar.start();
  }

  /** The instances it depends on are ready. */
  allowStart(): void {
    if (this.#mayStart) return;
    this.#mayStart = true;
    this.#schedulePoll(0);
  }

  /** As the control plane is told; undefined until it has a place. */
  describe(): WorkloadInstance | undefined {
    const [place, files] = [this.#place, this.#files];
    if (place === undefined || files === undefined) return undefined;
    const { plan, settings } = this.#options;
    const { spec } = plan;
    const locality = plan.role === "workload" ? plan.spec.locality : undefined;
    const restarts = (this.#application?.restarts ?? 0) + (this.#sidecar?.restarts ?? 0);
    return {
      name: plan.name,
      workload: spec.name,
      namespace: spec.namespace,
      serviceAccount: spec.serviceAccount,
      labels: spec.labels,
      ...(locality === undefined ? {} : { locality }),
      role: plan.role,
      addresses: place.addresses,
      ports: place.ports.map((port) => ({ ...port })), // of what may move, where it is now
      capture: place.capture,
      localDestinations: place.localDestinations,
      state: this.#state,
      tokenSha256: createHash("sha256").update(this.#token).digest("hex"),
      dataPlane: settings.dataPlane,
      adminSocket: files.adminSocket,
      metricsUrl: `http://${place.statusAddress}:${place.sidecarPorts.metrics}/stats/prometheus`,
      restarts,
      ...(this.detail === undefined ? {} : { detail: this.detail }),
      sidecarPorts: {
        outbound: place.sidecarPorts.outbound,
        inbound: place.sidecarPorts.inbound,
      },
    };
  }

  /** Process ids of the sidecar and of what stands before the application. */
  processes(): { readonly sidecar: number | undefined; readonly application: number | undefined } {
    return { sidecar: this.#sidecar?.pid, application: this.#application?.pid };
  }

  /** It will be closed: from now on it is no endpoint, while what it has begun goes on. */
  drain(): void {
    this.#poll?.cancel();
    this.#set("draining", "it ends when the mesh has stopped sending it requests");
    this.#isClosing = true;
  }

  /** Ends the application, then the sidecar, then gives the place back. */
  async close(graceMs: number): Promise<void> {
    this.#isClosing = true;
    this.#poll?.cancel();
    this.#state = "stopped";
    await this.#application?.stop(graceMs);
    await this.#sidecar?.stop(graceMs);
    await this.#place?.close();
    for (const log of this.#logs) log.close();
  }

  /**
   * Takes away what its sidecar kept: key, certificate and snapshot belong to the instance that has
   * left, not to whoever gets its name.
   */
  forget(): void {
    if (this.#files !== undefined) rmSync(this.#files.directory, { recursive: true, force: true });
  }

  /** It could not be made; shown instead of silence. */
  fail(reason: string): void {
    this.#set("stopped", reason);
  }

  #schedulePoll(delayMs: number): void {
    this.#poll?.cancel();
    if (this.#isClosing) return;
    this.#poll = this.#options.clock.schedule(delayMs, () => {
      this.#check().catch((thrown: unknown) => {
        this.#logs[1]?.note(`checking it failed: ${messageOf(thrown)}`);
        this.#schedulePoll(pollMs.steady);
      });
    });
  }

  async #check(): Promise<void> {
    const place = this.#place;
    if (place === undefined || this.#sidecar?.pid === undefined) return;
    const sidecarPid = this.#sidecar.pid;
    const ready = await askReady({ address: place.statusAddress, port: place.sidecarPorts.ready });
    if (this.#isClosing || this.#sidecar.pid !== sidecarPid) return;
    if (!ready.isReady) {
      this.#onUnready(ready.detail);
      return;
    }
    if (!this.#isSidecarReady) this.#sidecar.onServing();
    this.#isSidecarReady = true;
    this.#silence.end();
    if (this.plan.role === "gateway") {
      this.#set("ready", undefined);
    } else if (!this.#mayStart) {
      const names = this.plan.after.map((key) => key.slice(key.indexOf("/") + 1)).join(", ");
      this.#set("warming", `it waits for what it depends on: ${names}`);
    } else if (this.#application === undefined) {
      this.#startApplication(place);
    } else {
      await this.#checkApplication(place, this.#application);
    }
    this.#schedulePoll(this.#state === "ready" ? pollMs.steady : pollMs.starting);
  }

  // A sidecar that was ready once goes on serving when it loses the control plane; only silence, or
  // its own word, takes the instance out.
  #onUnready(detail: string): void {
    const wasReady = this.#isSidecarReady;
    const pid = this.#sidecar?.pid;
    if (wasReady && pid !== undefined && this.#silence.lasts(pid)) {
      this.#logs[1]?.note("it answers no probe; starting it anew");
      this.#sidecar?.restart();
      return;
    }
    if (!wasReady) this.#set(this.#state === "restarting" ? "restarting" : "warming", detail);
    this.#schedulePoll(wasReady ? pollMs.steady / 4 : pollMs.starting);
  }

  #startApplication(place: Place): void {
    const { plan } = this;
    const log = this.#logs[0];
    if (plan.role === "gateway" || log === undefined) return;
    const { clock, environment, onProcess } = this.#options;
    this.#application = new KeptProcess({
      spec: () =>
        place.application(
          {
            command: plan.spec.command,
            directory: plan.spec.workingDirectory,
            environment: { ...environment, ...applicationEnvironment(plan, place) },
          },
          plan.spec.writable,
        ),
      log,
      clock,
      backOff: applicationBackOff,
      onStart: (started) => {
        if (started.pid !== undefined) onProcess(started.pid);
        this.#applicationSinceMs = clock.monotonicMs();
        this.#schedulePoll(pollMs.starting);
      },
      onExit: (reason, retryMs) => {
        this.#lastEnd = reason;
        const next = retryMs < 1000 ? `${retryMs} ms` : `${retryMs / 1000} s`;
        this.#set("restarting", `the application ${reason}; next start in ${next}`, true);
        // Its last words may come a moment after the news of its end.
        clock.schedule(lastWordsMs, () => this.#options.onChange());
      },
      signal: (pid, signal) => place.signalApplication(pid, signal),
    });
    this.#set("starting", "the application starts");
    this.#application.start();
  }

  async #checkApplication(place: Place, application: KeptProcess): Promise<void> {
    const { pid } = application;
    if (pid === undefined) return;
    const ranMs = this.#options.clock.monotonicMs() - this.#applicationSinceMs;
    const leastMs = portlessReadyMs[application.failures === 0 ? "first" : "again"];
    if (place.ports.length === 0 && ranMs < leastMs) return;
    // Whether somebody waits for datagrams cannot be asked without sending one.
    const asked = place.ports.filter(({ protocol }) => protocol !== "udp");
    const answers = await Promise.all(
      asked.map(async ({ appPort, port }) => ({
        port: appPort ?? port,
        isOpen: await place.isListening(appPort ?? port, pid),
      })),
    );
    if (application.pid !== pid) return;
    const closed = answers.filter((answer) => !answer.isOpen).map((answer) => answer.port);
    if (closed.length === 0) {
      this.#lastEnd = undefined;
      this.#set("ready", undefined);
      return;
    }
    // Why it was started again matters more than what it does not do yet.
    const again = this.#lastEnd === undefined ? "" : `${this.#lastEnd} and was started again; it `;
    const silence = `does not listen on port ${closed.join(", ")} yet`;
    this.#set("starting", `the application ${again}${silence}`, this.#lastEnd !== undefined);
  }

  #set(state: InstanceState, detail: string | undefined, hasEnded = false): void {
    if (this.#isClosing || (state === this.#state && detail === this.#detail)) return;
    this.#state = state;
    this.#detail = detail;
    this.#hasEnded = hasEnded;
    this.#options.onChange();
  }
}
