import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { Problem, ResourceRef } from "../../base/problem.ts";
import type { CertificateAuthority } from "../../identity/authority.ts";
import { BearerTokens } from "../../identity/bearer-tokens.ts";
import { resourceKey } from "../../model/config-resource.ts";
import type { WorkloadInstance, WorkloadSnapshot } from "../../model/workload.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { AdsServer } from "../../xds/ads-server.ts";
import { typeUrls } from "../../xds/feed.ts";
import type { EncodedResource } from "../../xds/snapshot.ts";
import type {
  ApplyOptions,
  ApplyOutcome,
  AuthorityStatus,
  ConfigResource,
  ControlChange,
  ControlPlane,
  ProxyStatus,
  ResourceFilter,
  SeenProtocol,
  WaitOptions,
  WaitOutcome,
} from "../control-view.ts";
import type { WorkloadsMessage } from "../options.ts";
import type { Translate } from "../translate.ts";
import type { ConfigSet, Configuration, Plan } from "./configuration.ts";
import { ChangeEffects } from "./change-effects.ts";
import type { ControlMetrics } from "./control-metrics.ts";
import { Debounce } from "./debounce.ts";
import { type MeshState, locator } from "./mesh-state.ts";
import { PeerTable } from "./peer-table.ts";
import { type Locate, proxyIdOf, ProxySnapshots } from "./proxy-snapshots.ts";
import { proxyStatusOf, refusalProblems, refusalsOf } from "./proxy-status.ts";
import { rootProblems } from "./root-problems.ts";
import { RootWatch } from "./root-watch.ts";
import { Waits } from "./waits.ts";

export interface CoreOptions {
  readonly configuration: Configuration;
  readonly state: MeshState;
  readonly authority: CertificateAuthority;
  /** Throws when the root that the authority was made from is no longer what the disk holds. */
  readonly checkRoot: () => void;
  readonly translate: Translate;
  /** Another one, for what might be: it must not disturb the memory of the first. */
  readonly newTranslate: () => Translate;
  readonly metrics: ControlMetrics;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Changes of configuration come in bursts (an editor, a checkout); what runs changes one by one. */
const debounceTimes = { quietMs: 100, longestMs: 250 };
/** Translation lets other work in after this long. */
const sliceMs = 10;

/**
 * Everything of the control plane but its listeners: inputs come in, a generation is counted, every
 * proxy's snapshot is made and handed to the ADS server.
 */
export class HeddleControlPlane implements ControlPlane {
  readonly ads: AdsServer;
  readonly tokens: BearerTokens<WorkloadInstance> = new BearerTokens();
  readonly #options: CoreOptions;
  readonly #snapshots = new ProxySnapshots();
  readonly #peers = new PeerTable();
  readonly #waits: Waits;
  readonly #root: RootWatch;
  readonly #effects: ChangeEffects;
  readonly #debounce: Debounce;
  readonly #listeners = new Set<(change: ControlChange) => void>();
  readonly #told = new Set<ControlChange>();
  #instances = new Map<string, WorkloadInstance>();
  #meshProblems: readonly Problem[] = [];
  #locate: Locate = () => undefined;
  #generation = 0;
  /** The last generation whose snapshots were made, well or not. */
  #attempted = 0;
  #published = 0;
  /** Proxies whose translation threw: they keep what they have. Why, by proxy. */
  readonly #failed = new Map<string, string>();
  /** When each generation that is not yet everywhere was caused. */
  readonly #causedAtMs = new Map<number, number>();
  #publishing: Promise<void> | undefined;
  #issued = 0;
  #refused = 0;
  #isClosed = false;
  readonly #closers: (() => Promise<void>)[] = [];

  constructor(options: CoreOptions) {
    this.#options = options;
    const { clock, log, metrics, checkRoot } = options;
    const onChange = (): void => this.#tell("configuration");
    this.#root = new RootWatch({ check: checkRoot, clock, onChange });
    this.#debounce = new Debounce(clock, debounceTimes, () => this.#publishSoon());
    this.ads = new AdsServer({
      clock,
      log: log.area("xds"),
      events: {
        onConnect: () => this.#onConnections(),
        onDisconnect: () => this.#onConnections(),
        onSent: (_, typeUrl, bytes) => metrics.sent(typeUrl, bytes),
        onAnswer: (proxyId, answer) => {
          if (answer.kind === "refused") metrics.rejects.add();
          this.#onAnswer(proxyId);
        },
      },
    });
    this.#waits = new Waits({
      isSynced: (proxyId) => !this.#failed.has(proxyId) && this.ads.isSynced(proxyId),
      clock,
      generation: () => this.#generation,
      publishedGeneration: () => this.#published,
      proxies: () => this.#instances.keys(),
      snapshot: (proxyId) => this.#snapshots.get(proxyId),
      refusals: (proxyId) => refusalsOf(proxyId, this.ads.status(proxyId), this.#locate),
    });
    const { authority, state, newTranslate } = options;
    this.#effects = new ChangeEffects({
      newTranslate,
      modelOf: (config) => state.preview(config).model,
      proxies: () => this.#instances,
      pause: nextTurn,
    });
    metrics.rootExpiry.set(authority.rootNotAfterMs / 1000);
    this.#onInputs("config");
  }

  isInstance(proxyId: string): boolean {
    return this.#instances.has(proxyId);
  }

  countCertificate(outcome: "issued" | "refused"): void {
    if (outcome === "issued") this.#issued += 1;
    else this.#refused += 1;
  }

  /** Registers what `close()` ends besides: listeners, the watched folder. */
  onClose(closeOne: () => Promise<void>): void {
    this.#closers.push(closeOne);
  }

  /** Takes over what the configuration folder says now. */
  setFiles(files: ConfigSet): void {
    this.#options.configuration.setFiles(files);
    this.#onInputs("config");
  }

  setWorkloads(message: WorkloadsMessage): void {
    if (!this.#options.state.take(message)) return;
    // Stopped instances keep their status but are nobody on the wire.
    const running = message.snapshot.instances.filter(({ state }) => state !== "stopped");
    this.#instances = new Map(running.map((instance) => [proxyIdOf(instance), instance]));
    this.tokens.replace(running.map((holder) => ({ sha256: holder.tokenSha256, holder })));
    this.#onInputs("workloads");
    this.#tell("workloads");
  }

  setSeenProtocols(seen: readonly SeenProtocol[]): void {
    if (this.#options.state.see(seen)) this.#tell("configuration");
  }

  problems(): readonly Problem[] {
    const { configuration, state, authority, clock } = this.#options;
    return [
      ...rootProblems(authority, clock.nowMs()),
      ...this.#root.problems,
      ...state.problems,
      ...configuration.current.problems,
      ...this.#meshProblems,
      ...this.#snapshots.problems(this.#locate),
      ...[...this.#failed].map(([proxyId, reason]) => failedTranslation(proxyId, reason)),
      ...refusalProblems(this.ads, this.#instances.keys(), this.#locate),
    ];
  }

  resources(filter: ResourceFilter = {}): readonly ConfigResource[] {
    return this.#options.configuration.show(filter, this.problems());
  }

  proxies(): readonly ProxyStatus[] {
    const statuses = [...this.#instances].map(([proxyId, instance]) =>
      proxyStatusOf(instance, this.ads.status(proxyId), this.#locate),
    );
    return statuses.toSorted((a, b) => (a.proxy < b.proxy ? -1 : 1));
  }

  workloads(): WorkloadSnapshot | undefined {
    return this.#options.state.workloads;
  }

  apply(yaml: string, options: ApplyOptions): Promise<ApplyOutcome> {
    const plan = this.#options.configuration.plan(yaml, options);
    return Promise.resolve(this.#carryOut(plan, options.dryRun));
  }

  remove(ref: ResourceRef): Promise<ApplyOutcome> {
    return Promise.resolve(this.#carryOut(this.#options.configuration.planRemoval(ref), false));
  }

  async waitFor(refs: readonly ResourceRef[], options: WaitOptions): Promise<WaitOutcome> {
    const generation = options.generation ?? this.#generation;
    const concerned = await this.#effects.concerned(refs);
    return await this.#waits.wait(refs, { ...options, generation }, concerned);
  }

  onChange(listener: (change: ControlChange) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  authority(): AuthorityStatus {
    const { authority } = this.#options;
    return {
      trustDomain: authority.trustDomain,
      rootPem: authority.rootPem,
      rootSerial: authority.rootSerial,
      rootNotAfterMs: authority.rootNotAfterMs,
      certificateTtlMs: authority.certificateTtlMs,
      issued: this.#issued,
      refused: this.#refused,
    };
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#debounce.cancel();
    this.#root.close();
    await Promise.all(this.#closers.map((closeOne) => closeOne()));
    await this.#publishing;
  }

  /** Resolves when the snapshots of every change so far are set. */
  async settled(): Promise<void> {
    this.#debounce.flush();
    while (this.#publishing !== undefined) await this.#publishing;
  }

  #carryOut(plan: Plan, isDryRun: boolean): ApplyOutcome {
    const { configuration, state, log } = this.#options;
    const concerned = new Set(plan.applied.map(({ ref }) => resourceKey(ref)));
    const [before, after] = [configuration.current, configuration.preview(plan)];
    const found = state
      .preview(after)
      .problems.filter(({ resource }) => resource && concerned.has(resourceKey(resource)));
    const problems = [...plan.problems, ...found];
    const outcome = { applied: plan.applied, problems, generation: this.#generation };
    if (problems.some(({ severity }) => severity === "error")) return { ...outcome, applied: [] };
    if (isDryRun) return outcome;
    try {
      configuration.carryOut(plan);
    } catch (error) {
      const message = `storing it: ${messageOf(error)}`;
      log.error("configuration cannot be stored", { reason: messageOf(error) });
      const problem = { code: "apply.store", severity: "error", path: "", message } as const;
      return { ...outcome, applied: [], problems: [...problems, problem] };
    }
    this.#onInputs("config");
    const refs = plan.applied.map(({ ref }) => ref);
    this.#effects.remember({ refs, before, after });
    return { ...outcome, generation: this.#generation };
  }

  #onInputs(cause: "config" | "workloads"): void {
    this.#generation += 1;
    this.#causedAtMs.set(this.#generation, this.#options.clock.monotonicMs());
    this.#options.metrics.triggered(cause);
    if (cause === "config") this.#debounce.trigger();
    else this.#publishSoon();
  }

  /** One round at a time; what changed during a round makes the next. */
  #publishSoon(): void {
    if (this.#publishing !== undefined || this.#isClosed) return;
    if (this.#attempted === this.#generation) return;
    this.#publishing = this.#publish()
      .catch((error: unknown) => {
        this.#options.log.error("translation failed", {
          reason: messageOf(error),
          stack: error instanceof Error ? error.stack : undefined,
        });
        this.#meshProblems = [brokenModel(messageOf(error))];
      })
      .finally(() => {
        this.#publishing = undefined;
        // Not again for the same input: it would fail the same way.
        if (this.#attempted < this.#generation && !this.#debounce.isWaiting) this.#publishSoon();
        this.#waits.check();
      });
  }

  async #publish(): Promise<void> {
    await nextTurn(); // several messages of one turn make one round
    const { configuration, state, clock, metrics, translate } = this.#options;
    const generation = this.#generation;
    this.#attempted = generation;
    const startMs = clock.monotonicMs();
    const config = configuration.current;
    const { model, problems } = state.build(config);
    this.#meshProblems = problems;
    this.#locate = locator(config.resources);
    const peers = this.#peers.update(this.#instances.values());
    this.#snapshots.startRound();
    let sliceStartMs = startMs;
    for (const [proxyId, instance] of this.#instances) {
      this.#update(proxyId, generation, () => [
        ...translate(model, instance),
        [typeUrls.peer, peers],
      ]);
      if (clock.monotonicMs() - sliceStartMs < sliceMs) continue;
      await nextTurn();
      if (this.#isClosed) return;
      sliceStartMs = clock.monotonicMs();
    }
    for (const gone of this.#snapshots.keepOnly(new Set(this.#instances.keys()))) {
      this.ads.remove(gone);
      this.#failed.delete(gone);
    }
    this.#published = generation;
    metrics.services.set(model.services.size);
    metrics.virtualServices.set(model.virtualServices.length);
    metrics.translateSeconds.record((clock.monotonicMs() - startMs) / 1000);
    for (const old of this.#causedAtMs.keys()) {
      if (old < generation - generationsTimed) this.#causedAtMs.delete(old);
    }
    this.#tell("configuration");
    this.#tell("proxies");
  }

  /** A translation that fails harms its own proxy and no other. */
  #update(proxyId: string, generation: number, translate: () => Translated): void {
    try {
      const snapshot = this.#snapshots.update(proxyId, String(generation), new Map(translate()));
      this.#failed.delete(proxyId);
      if (this.ads.snapshot(proxyId) !== snapshot) this.ads.setSnapshot(proxyId, snapshot);
    } catch (error) {
      this.#failed.set(proxyId, messageOf(error));
      this.#options.log.error("translation failed", {
        proxy: proxyId,
        reason: messageOf(error),
        stack: error instanceof Error ? error.stack : undefined,
      });
    }
  }

  #onAnswer(proxyId: string): void {
    const { metrics, clock } = this.#options;
    const causedAtMs = this.#causedAtMs.get(Number(this.#snapshots.get(proxyId)?.version ?? 0));
    if (causedAtMs !== undefined && this.ads.isSynced(proxyId)) {
      metrics.convergenceSeconds.record((clock.monotonicMs() - causedAtMs) / 1000);
    }
    this.#tell("proxies");
    this.#waits.check();
  }

  #onConnections(): void {
    this.#options.metrics.connected.set(this.ads.connectedProxies.length);
    this.#tell("proxies");
    this.#waits.check();
  }

  #tell(change: ControlChange): void {
    if (this.#told.size === 0) {
      setImmediate(() => {
        const told = [...this.#told];
        this.#told.clear();
        for (const one of told) for (const listener of this.#listeners) listener(one);
      });
    }
    this.#told.add(change);
  }
}

type Translated = readonly (readonly [typeUrl: string, readonly EncodedResource[]])[];

function brokenModel(reason: string): Problem {
  return {
    code: "control.model-failed",
    severity: "error",
    path: "",
    message: `the configuration could not be put together; proxies keep the last one: ${reason}`,
  };
}

function failedTranslation(proxyId: string, reason: string): Problem {
  return {
    code: "control.translation-failed",
    severity: "error",
    path: "",
    message: `proxy ${proxyId} keeps its last configuration: ${reason}`,
  };
}

/** Generations whose time of cause is kept. */
const generationsTimed = 50;

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
