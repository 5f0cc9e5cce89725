/**
 * Keeps one mesh running: the control plane, and for every instance of the mesh file a place, a
 * sidecar and the application. Follows changes of the file: what changed is restarted alone, what is
 * wrong is reported while the last good file keeps running.
 */
import { availableParallelism } from "node:os";

import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import type { WorkloadInstance, WorkloadSnapshot } from "../model/workload.ts";
import type { SocketKeeper } from "../net/kept-sockets.ts";
import type { MeshFile } from "./mesh-file.ts";
import type { Placement } from "./placement.ts";
import type { InstancePlan } from "./plan.ts";
import { planInstances, planServices } from "./plan.ts";
import { ConfigurationProblems } from "./run/configuration-problems.ts";
import { ControlProcess } from "./run/control-process.ts";
import { eachAtMost } from "./run/each-at-most.ts";
import { FirstReady, type Progress } from "./run/first-ready.ts";
import { gatewayTargets, withPlaces } from "./run/gateway-ports.ts";
import { type GatewayTarget, type HostPortOpener, HostPorts } from "./run/host-ports.ts";
import { Instance } from "./run/instance.ts";
import { KnownRevisions } from "./run/known-revisions.ts";
import { MeshProblems } from "./run/mesh-problems.ts";
import { readMeshFile, type UsableMeshFile } from "./run/mesh-source.ts";
import { watchMeshFile } from "./run/mesh-watch.ts";
import { sidecarSettings } from "./run/sidecar-files.ts";
import { StartQueue } from "./run/start-queue.ts";
import type { SupervisorOptions } from "./supervisor-options.ts";

export interface SupervisorParts {
  readonly options: SupervisorOptions;
  readonly placement: Placement;
  readonly clock: Clock;
  /** Progress for people, one short sentence each. */
  readonly onStep: (text: string) => void;
  /** When waiting longer would change nothing, naming what is not ready; once more when all is. */
  readonly onReady: (notReady: readonly string[]) => void;
  /** Opens ports of the host for gateways. */
  readonly hostPorts: HostPortOpener;
  /** A process group that must not outlive the supervisor. */
  readonly onProcess: (pid: number) => void;
  /** For the listening sockets of one sidecar; undefined where they cannot be kept. */
  readonly openSockets: () => SocketKeeper | undefined;
}

const openAtOnce = 6;
/** Sidecars that start at once, beside one for each core: a start waits for answers now and then. */
const sidecarsBeyondCores = 2;
const publishQuietMs = 5;
const stopGraceMs = 3000;
/** From being taken out of the endpoints until the application is ended, at least: for what is on its way. */
const drainMs = 1000;
/** At most, where a proxy does not answer. */
const withdrawnMaxMs = 10_000;
/** How long a replica that was replaced may take until the next is replaced all the same. */
const replacedReadyMaxMs = 15_000;
const replacedPollMs = 50;
const controlHeadStartMs = 2500;

export class Supervisor {
  readonly #parts: SupervisorParts;
  readonly #control: ControlProcess;
  readonly #instances = new Map<string, Instance>();
  readonly #starts: StartQueue;
  /** On their way out. */
  readonly #leaving = new Set<Instance>();
  readonly #firstReady: FirstReady;
  readonly #hostPorts: HostPorts;
  readonly #problems: MeshProblems;
  readonly #configuration: ConfigurationProblems;
  #file: MeshFile;
  #revision = 0;
  /** By instance, the revision that first told that it is ready. */
  readonly #readySince = new Map<string, number>();
  readonly #known = new KnownRevisions();
  #publish: Timer | undefined;
  #isControlReady = false;
  #mayStartSidecars = false;
  #headStart: Timer | undefined;
  #stopWatching: (() => void) | undefined;
  #changes: Promise<void> = Promise.resolve();
  /** Changes that were read and not yet begun: who waits for readiness gives way to them. */
  #pendingChanges = 0;
  /** Ends pauses early, when the mesh ends. */
  readonly #pauses = new Set<() => void>();
  #isClosing = false;
  /** Everything of the file it was started with has its place, or was refused one. */
  #isBegun = false;

  constructor(parts: SupervisorParts, started: UsableMeshFile) {
    this.#parts = parts;
    const { file } = started;
    this.#file = file;
    const { options, placement, clock, onProcess } = parts;
    this.#starts = new StartQueue(clock, availableParallelism() + sidecarsBeyondCores);
    this.#control = new ControlProcess({
      options,
      placement,
      clock,
      rootNamespace: file.rootNamespace,
      onProcess,
      onReady: () => this.#onControlReady(),
      onFailing: (why) => this.#firstReady.onControlFailing(why),
      onApplied: (message) => {
        this.#known.take(message);
        this.#followReadiness();
      },
      onProblems: (problems) => this.#configuration.follow(problems),
      message: () => this.#workloadsMessage(),
    });
    this.#firstReady = new FirstReady({
      clock,
      progress: () => this.#progress(),
      onReady: parts.onReady,
      onProgress: (ready, all) => parts.onStep(`${ready} of ${all} are ready`),
    });
    this.#hostPorts = new HostPorts({
      opener: parts.hostPorts,
      clock,
      onOpen: (target, address) => this.#onHostPort(target, address),
      onProblems: () => this.#tellProblems(),
    });
    this.#problems = new MeshProblems({
      started,
      isExplicit: placement.kind === "explicit",
      found: () => this.#hostPorts.problems,
      onStep: parts.onStep,
    });
    // Before, whoever started the mesh asks for all of them.
    const isHeard = (): boolean => this.#firstReady.isTold;
    this.#configuration = new ConfigurationProblems({ isHeard, onStep: parts.onStep });
  }

  /** Resolves when every instance has its place; readiness is told by `onReady`. */
  async start(): Promise<void> {
    const { clock, options } = this.#parts;
    this.#revision = Math.floor(clock.nowMs()); // grows over restarts of the mesh, too
    this.#control.start();
    // With a root from an earlier run sidecars can serve from disk, so a control plane that does not
    // come up must not hold them back; one that does is ready sooner without their competition.
    if (this.#control.hasRootCertificate) {
      this.#headStart = clock.schedule(controlHeadStartMs, () => this.#startSidecars());
    }
    this.#firstReady.start();
    this.#tellProblems();
    this.#stopWatching = watchMeshFile(options.meshFile, clock, () => this.#reload());
    await this.#enqueue(async () => this.#adopt(this.#file));
    this.#isBegun = true;
    this.#followReadiness();
    const count = this.#instances.size;
    const have =
      count === 1
        ? "workload or gateway has its network"
        : "workloads and gateways have their networks";
    this.#parts.onStep(`${count} ${have}`);
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#stopWatching?.();
    this.#publish?.cancel();
    this.#firstReady.close();
    this.#hostPorts.close();
    this.#headStart?.cancel();
    this.#starts.close();
    for (const end of this.#pauses) end();
    this.#known.close();
    await this.#changes.catch(() => {});
    const all = [...this.#instances.values(), ...this.#leaving];
    await Promise.all(all.map((one) => closeQuietly(one)));
    await this.#control.close(stopGraceMs);
    await this.#parts.placement.close();
  }

  #reload(): void {
    const parsed = readMeshFile(this.#parts.options.meshFile);
    const file = parsed.value;
    this.#problems.read(file, parsed.problems);
    this.#tellProblems();
    if (file === undefined) return;
    this.#enqueue(async () => this.#adopt(file)).catch((thrown: unknown) => {
      this.#parts.onStep(`following the changed file failed: ${messageOf(thrown)}`);
    });
  }

  async #enqueue(change: () => Promise<void>): Promise<void> {
    this.#pendingChanges += 1;
    const begin = async (): Promise<void> => {
      this.#pendingChanges -= 1;
      await change();
    };
    this.#changes = this.#changes.catch(() => {}).then(begin);
    await this.#changes;
  }

  async #adopt(file: MeshFile): Promise<void> {
    if (this.#isClosing) return;
    this.#file = file;
    await this.#parts.placement.follow(file);
    const plans = planInstances(file);
    const wanted = new Map(plans.map((plan) => [plan.key, plan]));
    const gone = [...this.#instances].filter(([key]) => !wanted.has(key));
    const changed = plans.filter((plan) => {
      const known = this.#instances.get(plan.key);
      return known !== undefined && known.plan.fingerprint !== plan.fingerprint;
    });
    const fresh = plans.filter((plan) => !this.#instances.has(plan.key));
    this.#schedulePublish();
    await Promise.all([
      ...gone.map(async ([key, instance]) => await this.#retire(key, instance)),
      // Gateways and what nobody waits for first; the order in the file decides among equals.
      eachAtMost(openAtOnce, fresh, async (plan) => await this.#open(plan)),
    ]);
    const addressOf = (key: string) => this.#instances.get(key)?.place?.addresses[0];
    this.#hostPorts.follow(gatewayTargets(file, addressOf));
    await Promise.all(byWorkload(changed).map(async (replicas) => await this.#replace(replicas)));
    this.#schedulePublish();
  }

  /** First nobody sends it requests any more, then it ends. */
  async #retire(key: string, instance: Instance): Promise<void> {
    const wasEndpoint = instance.state === "ready";
    this.#leaving.add(instance);
    this.#instances.delete(key);
    instance.drain();
    if (wasEndpoint) {
      // What is told next says that it leaves.
      const known = this.#known.everywhere(this.#revision + 1, this.#parts.clock, withdrawnMaxMs);
      await Promise.all([this.#pause(drainMs), known]);
    }
    await closeQuietly(instance);
    instance.forget();
    this.#leaving.delete(instance);
    this.#schedulePublish();
  }

  /** One replica after the other: those that are left serve. A newer file takes over the rest. */
  async #replace(replicas: readonly InstancePlan[]): Promise<void> {
    for (const [index, plan] of replicas.entries()) {
      const before = this.#instances.get(plan.key);
      if (this.#isClosing || before === undefined) return;
      if (index > 0 && this.#pendingChanges > 0) return;
      await this.#retire(plan.key, before);
      await this.#open(plan);
      if (index < replicas.length - 1) await this.#isServing(plan.key);
    }
  }

  async #isServing(key: string): Promise<void> {
    const { clock } = this.#parts;
    const end = clock.monotonicMs() + replacedReadyMaxMs;
    while (this.#instances.get(key)?.state !== "ready" && clock.monotonicMs() < end) {
      if (this.#isClosing || this.#pendingChanges > 0) return;
      await this.#pause(replacedPollMs);
    }
  }

  async #pause(ms: number): Promise<void> {
    if (this.#isClosing) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#parts.clock.schedule(ms, resolve);
    this.#pauses.add(resolve);
    await promise;
    this.#pauses.delete(resolve);
    timer.cancel();
  }

  async #open(plan: InstancePlan): Promise<void> {
    const { placement, clock, options, onProcess } = this.#parts;
    const instance = new Instance({
      plan,
      placement,
      clock,
      settings: sidecarSettings(options, placement, this.#control.rootFile),
      environment: options.environment,
      heddle: options.heddle,
      sockets: options.dataPlane === "heddle" ? this.#parts.openSockets() : undefined,
      onChange: () => this.#onInstanceChange(),
      onProcess,
    });
    this.#instances.set(plan.key, instance);
    try {
      await instance.open();
    } catch (thrown) {
      instance.fail(messageOf(thrown));
      this.#parts.onStep(`${plan.name} has no network: ${messageOf(thrown)}`);
      return;
    }
    if (this.#mayStartSidecars) this.#starts.add(instance);
  }

  #onControlReady(): void {
    if (!this.#isControlReady) this.#parts.onStep("the control plane is ready");
    this.#isControlReady = true;
    this.#firstReady.onControlReady();
    this.#startSidecars();
  }

  #startSidecars(): void {
    this.#mayStartSidecars = true;
    this.#starts.add(...this.#instances.values());
  }

  #onInstanceChange(): void {
    this.#schedulePublish();
    for (const [key, { state }] of this.#instances) {
      if (state !== "ready") this.#readySince.delete(key);
      // What is told next tells of it.
      else if (!this.#readySince.has(key)) this.#readySince.set(key, this.#revision + 1);
    }
    this.#followReadiness();
  }

  /** Starts who waited for others, and says when all is ready, once every proxy knows. */
  #followReadiness(): void {
    this.#starts.follow();
    for (const instance of this.#instances.values()) {
      const { plan } = instance;
      if (plan.role === "gateway" || instance.state !== "warming") continue;
      if (plan.after.every((key) => this.#isKnownReady(key))) instance.allowStart();
    }
    if (this.#isBegun) this.#firstReady.follow();
  }

  #progress(): ReadonlyMap<string, Progress> {
    const entries = [...this.#instances].map(([key, instance]): [string, Progress] => {
      const { state, isFailing, waitsFor } = instance;
      const isKnownReady = state === "ready" && this.#isKnownReady(key);
      return [key, { state, isKnownReady, isFailing, waitsFor, why: () => instance.why }];
    });
    return new Map(entries);
  }

  #isKnownReady(key: string): boolean {
    if (!this.#instances.has(key)) return true;
    return (this.#readySince.get(key) ?? Infinity) <= this.#known.applied;
  }

  #onHostPort({ name }: GatewayTarget, address: SocketAddress): void {
    this.#schedulePublish();
    if (!this.#firstReady.isTold) return;
    this.#parts.onStep(`gateway ${name} is open on ${formatSocketAddress(address)}`);
  }

  #tellProblems(): void {
    this.#problems.tell();
    this.#schedulePublish();
  }

  #schedulePublish(): void {
    if (this.#isClosing || this.#publish !== undefined) return;
    this.#publish = this.#parts.clock.schedule(publishQuietMs, () => {
      this.#publish = undefined;
      this.#revision += 1;
      this.#control.send(this.#workloadsMessage());
    });
  }

  #workloadsMessage(): Parameters<ControlProcess["send"]>[0] {
    const { meshConfig, prometheusUrl } = this.#file;
    return {
      kind: "workloads",
      snapshot: this.#snapshot(),
      problems: this.#problems.all(),
      ...(meshConfig === undefined ? {} : { meshConfig }),
      ...(prometheusUrl === undefined ? {} : { prometheusUrl }),
    };
  }

  #snapshot(): WorkloadSnapshot {
    const { placement } = this.#parts;
    const all = [...this.#instances.values(), ...this.#leaving];
    const described = all.map((instance) => instance.describe());
    const running = described.filter((one): one is WorkloadInstance => one !== undefined);
    return {
      revision: this.#revision,
      services: planServices(this.#file).map((plan) => ({
        ...plan,
        addresses: placement.serviceAddresses(`${plan.namespace}/${plan.name}`),
      })),
      instances: withPlaces(running, this.#file),
    };
  }
}

function byWorkload(plans: readonly InstancePlan[]): readonly (readonly InstancePlan[])[] {
  const groups = Map.groupBy(plans, ({ spec }) => `${spec.namespace}/${spec.name}`);
  return [...groups.values()];
}

async function closeQuietly(instance: Instance): Promise<void> {
  try {
    await instance.close(stopGraceMs);
  } catch {
    // Its namespace could not be taken down; it ends with the mesh, and its place is made anew.
  }
}
