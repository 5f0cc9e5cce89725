import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { Problem, ResourceRef } from "../../base/problem.ts";
import type { CertificateAuthority } from "../../identity/authority.ts";
import { BearerTokens } from "../../identity/bearer-tokens.ts";
import { resourceKey } from "../../model/config-resource.ts";
import type { WorkloadInstance, WorkloadSnapshot } from "../../model/workload.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { AdsServer } from "../../xds/ads-server.ts";
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
import type { MeshState } from "./mesh-state.ts";
import { proxyIdOf } from "./proxy-snapshots.ts";
import { proxyStatusOf, refusalProblems, refusalsOf } from "./proxy-status.ts";
import { rootProblems } from "./root-problems.ts";
import { RootWatch } from "./root-watch.ts";
import { Rounds } from "./rounds.ts";
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

/**
 * Everything of the control plane but its listeners: inputs come in, rounds hand every proxy's snapshot to the
 * ADS server (`rounds.ts`), and what became of them is shown.
 */
export class HeddleControlPlane implements ControlPlane {
  readonly ads: AdsServer;
  readonly tokens: BearerTokens<WorkloadInstance> = new BearerTokens();
  readonly #options: CoreOptions;
  readonly #rounds: Rounds;
  readonly #waits: Waits;
  readonly #root: RootWatch;
  readonly #effects: ChangeEffects;
  readonly #listeners = new Set<(change: ControlChange) => void>();
  readonly #told = new Set<ControlChange>();
  #instances = new Map<string, WorkloadInstance>();
  #issued = 0;
  #refused = 0;
  readonly #closers: (() => Promise<void>)[] = [];

  constructor(options: CoreOptions) {
    this.#options = options;
    const { clock, log, metrics, checkRoot } = options;
    const onChange = (): void => this.#tell("configuration");
    this.#root = new RootWatch({ check: checkRoot, clock, onChange });
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
    this.#rounds = new Rounds({
      ...options,
      ads: this.ads,
      instances: () => this.#instances,
      onPublished: () => {
        this.#tell("configuration");
        this.#tell("proxies");
      },
      onEnd: () => this.#waits.check(),
    });
    this.#waits = new Waits({
      isSynced: (proxyId) => !this.#rounds.hasFailed(proxyId) && this.ads.isSynced(proxyId),
      clock,
      generation: () => this.#rounds.generation,
      publishedGeneration: () => this.#rounds.published,
      proxies: () => this.#instances.keys(),
      snapshot: (proxyId) => this.#rounds.snapshot(proxyId),
      refusals: (proxyId) => refusalsOf(proxyId, this.ads.status(proxyId), this.#rounds.locate),
    });
    const { authority, state, newTranslate } = options;
    this.#effects = new ChangeEffects({
      newTranslate,
      modelOf: (config) => state.preview(config).model,
      proxies: () => this.#instances,
      pause: nextTurn,
    });
    metrics.rootExpiry.set(authority.rootNotAfterMs / 1000);
    this.#rounds.onInputs("config");
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
    this.#rounds.onInputs("config");
  }

  setWorkloads(message: WorkloadsMessage): void {
    if (!this.#options.state.take(message)) return;
    // Stopped instances keep their status but are nobody on the wire.
    const running = message.snapshot.instances.filter(({ state }) => state !== "stopped");
    this.#instances = new Map(running.map((instance) => [proxyIdOf(instance), instance]));
    this.tokens.replace(running.map((holder) => ({ sha256: holder.tokenSha256, holder })));
    this.#rounds.onInputs("workloads");
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
      ...this.#rounds.problems,
      ...refusalProblems(this.ads, this.#instances.keys(), this.#rounds.locate),
    ];
  }

  resources(filter: ResourceFilter = {}): readonly ConfigResource[] {
    return this.#options.configuration.show(filter, this.problems());
  }

  proxies(): readonly ProxyStatus[] {
    const statuses = [...this.#instances].map(([proxyId, instance]) =>
      proxyStatusOf(instance, this.ads.status(proxyId), this.#rounds.locate),
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
    const generation = options.generation ?? this.#rounds.generation;
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
    const ended = this.#rounds.close();
    this.#root.close();
    await Promise.all(this.#closers.map((closeOne) => closeOne()));
    await ended;
  }

  /** Resolves when the snapshots of every change so far are set. */
  async settled(): Promise<void> {
    await this.#rounds.settled();
  }

  #carryOut(plan: Plan, isDryRun: boolean): ApplyOutcome {
    const { configuration, state, log } = this.#options;
    const concerned = new Set(plan.applied.map(({ ref }) => resourceKey(ref)));
    const [before, after] = [configuration.current, configuration.preview(plan)];
    const found = state
      .preview(after)
      .problems.filter(({ resource }) => resource && concerned.has(resourceKey(resource)));
    const problems = [...plan.problems, ...found];
    const outcome = { applied: plan.applied, problems, generation: this.#rounds.generation };
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
    this.#rounds.onInputs("config");
    const refs = plan.applied.map(({ ref }) => ref);
    this.#effects.remember({ refs, before, after });
    return { ...outcome, generation: this.#rounds.generation };
  }

  #onAnswer(proxyId: string): void {
    const { metrics, clock } = this.#options;
    const causedAtMs = this.#rounds.causedAtMs(proxyId);
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

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
