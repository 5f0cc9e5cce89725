/**
 * Checks the endpoints of one version of a cluster, each on its own, as one plan says. Where several
 * threads serve, one of them checks and tells the others (`told-health.ts`).
 */
import type { Timer } from "../../base/clock.ts";
import {
  CheckedHealth,
  type CheckFailure,
  firstCheckMs,
  type HealthChange,
  healthFlag,
  nextCheckMs,
} from "../engine/health-check.ts";
import type { ProxyDialler } from "../internal.ts";
import type { HealthSeries } from "../stats/health-series.ts";
import type { TlsFor } from "./assignment.ts";
import type { ClusterHealth, HealthMember } from "./cluster-health.ts";
import { HealthEvents, type JudgedCheck } from "./health-events.ts";
import type { CheckPlan } from "./health-plan.ts";
import {
  ConnectionProbe,
  type Probe,
  type ProbeOwner,
  type ProbeParts,
  type ProbeTarget,
  type SocketSettings,
  TcpProbeConnection,
} from "./health-probe.ts";
import { grpcQuestion } from "./grpc-probe.ts";
import { HttpProbeConnection } from "./http-probe.ts";
import { Http2ProbeConnection, http2HttpQuestion } from "./http2-probe.ts";
import type { EndpointMetadata } from "./endpoint.ts";
import type { ProxyHeaderPlan } from "./proxy-header.ts";
import type { ClusterServices } from "./running-cluster.ts";

export interface CheckerOptions {
  readonly cluster: string;
  readonly plan: CheckPlan;
  /** New endpoints are not counted before their first check is over. */
  readonly ignoresNew: boolean;
  readonly series: HealthSeries;
  readonly socket: SocketSettings;
  readonly tlsFor: TlsFor;
  /** What PROXY headers of its connections say, by metadata of sockets. */
  readonly headerFor: (metadata: EndpointMetadata) => ProxyHeaderPlan | undefined;
  readonly dialler: ProxyDialler;
  readonly services: Pick<ClusterServices, "clock" | "random" | "log" | "openLog">;
  /** The cluster has had connections for requests. */
  readonly hasTraffic: () => boolean;
  /** Flags of an endpoint have changed. */
  readonly onChange: (key: string, flags: number) => void;
  /** An endpoint that is fit has passed a check. */
  readonly onPassed: (key: string) => void;
  /** Some endpoint's first check is over. */
  readonly onFirst: () => void;
}

/** A timer that comes so late tells of this thread more than of an endpoint. */
const lateMs = 20;

export class HealthChecker implements ClusterHealth {
  readonly #options: CheckerOptions;
  readonly #events: HealthEvents | undefined;
  readonly #sessions = new Map<string, Session>();

  constructor(options: CheckerOptions) {
    const { plan, cluster, services } = options;
    const { openLog } = services;
    this.#options = options;
    if (plan.events === undefined || openLog === undefined) return;
    this.#events = new HealthEvents({
      plan: plan.events,
      cluster,
      checker: checkerNames[plan.probe.kind],
      appends: plan.events.paths.map((path) => openLog(path)),
      nowMs: () => services.clock.nowMs(),
    });
  }

  get isKnown(): boolean {
    for (const { health } of this.#sessions.values()) if (health.isFirstCheck) return false;
    return true;
  }

  flagsOf(key: string): number {
    return this.#sessions.get(key)?.health.flags ?? 0;
  }

  setMembers(all: ReadonlyMap<string, HealthMember>): void {
    const members = this.#socketsOf(all);
    for (const [key, session] of this.#sessions) {
      const member = members.get(key);
      if (member !== undefined && session.follow(member)) continue;
      this.#sessions.delete(key);
      session.close();
    }
    const added: Session[] = [];
    for (const [key, member] of members) {
      if (this.#sessions.has(key)) continue;
      const session = new Session(key, member, { ...this.#options, events: this.#events });
      this.#sessions.set(key, session);
      added.push(session);
    }
    for (const session of added) session.start();
  }

  /** Over which sockets they are asked, where the check has its own word on it. */
  #socketsOf(members: ReadonlyMap<string, HealthMember>): ReadonlyMap<string, HealthMember> {
    const { plan, tlsFor, headerFor } = this.#options;
    const { socketMetadata } = plan;
    if (socketMetadata === undefined) return members;
    const tls = tlsFor(socketMetadata);
    const header = headerFor(socketMetadata);
    return new Map(
      [...members].map(([key, one]) => [key, { ...one, target: { ...one.target, tls, header } }]),
    );
  }

  suspect(key: string): void {
    this.#sessions.get(key)?.exclude();
  }

  close(): void {
    for (const session of this.#sessions.values()) session.close();
    this.#sessions.clear();
  }
}

interface SessionOptions extends CheckerOptions {
  readonly events: HealthEvents | undefined;
}

const checkerNames = { http: "HTTP", grpc: "GRPC", tcp: "TCP" } as const;

class Session implements ProbeOwner {
  readonly health: CheckedHealth;
  readonly #key: string;
  readonly #options: SessionOptions;
  #member: HealthMember;
  #probe: Probe;
  #interval: Timer | undefined;
  #timeout: Timer | undefined;
  #isClosed = false;
  /** The answer that is being judged asks not to count the endpoint any more. */
  #asksExclusion = false;

  constructor(key: string, member: HealthMember, options: SessionOptions) {
    const { plan, ignoresNew } = options;
    this.#key = key;
    this.#options = options;
    this.#member = member;
    this.health = new CheckedHealth(plan.settings, ignoresNew);
    this.#probe = this.#makeProbe(member.target);
  }

  /** False where it is to be asked elsewhere, so that nothing known of it holds. */
  follow(member: HealthMember): boolean {
    const before = this.#member;
    this.#member = member;
    if (sameTarget(before.target, member.target)) return true;
    if (!member.isSameAnywhere) return false;
    this.#probe.close();
    this.#probe = this.#makeProbe(member.target);
    return true;
  }

  start(): void {
    const { plan, services } = this.#options;
    const delayMs = firstCheckMs(plan.settings, services.random);
    if (delayMs === 0) this.#ask();
    else this.#interval = services.clock.schedule(delayMs, () => this.#ask());
  }

  close(): void {
    this.#isClosed = true;
    this.#interval?.cancel();
    this.#timeout?.cancel();
    this.#probe.close();
    const { series } = this.#options;
    if (!this.health.has(healthFlag.failed)) series.healthy.add(-1);
    if (this.health.has(healthFlag.degraded)) series.degraded.add(-1);
  }

  /** It has said so in an answer to a request: the next check comes when it would have. */
  exclude(): void {
    this.#asksExclusion = true;
    this.#judgeFailure("passive", false);
  }

  #makeProbe(target: ProbeTarget): Probe {
    const { dialler, plan, socket, services } = this.#options;
    const nowMs = (): number => services.clock.monotonicMs();
    return makeProbe({ dialler, plan, socket, nowMs, target, owner: this });
  }

  #ask(): void {
    const { plan, services, series } = this.#options;
    series.attempts.add(1);
    const { timeoutMs } = plan.settings;
    const endMs = services.clock.monotonicMs() + timeoutMs;
    this.#timeout = services.clock.schedule(timeoutMs, () => {
      // A thread that was busy may have the answer already, and looks at its sockets next.
      if (services.clock.monotonicMs() - endMs < lateMs) return this.#onTimeout();
      this.#timeout = services.clock.schedule(lateMs, () => this.#onTimeout());
    });
    this.#probe.ask();
  }

  #onTimeout(): void {
    this.#probe.giveUp();
    this.#fail("network-timeout", false);
  }

  onPass(isDegraded: boolean): void {
    if (this.#isClosed) return;
    const { series, onPassed } = this.#options;
    const before = this.health.flags;
    const wasFirst = this.health.isFirstCheck;
    const change = this.health.pass(isDegraded);
    series.successes.add(1);
    this.#tell(before, change, { isFirst: wasFirst, failure: undefined, status: 0 });
    if (!this.health.has(healthFlag.failed)) onPassed(this.#key);
    this.#again(true, change);
  }

  onFail(kind: "network" | "active", isRetriable: boolean, status = 0): void {
    if (!this.#isClosed) this.#fail(kind, isRetriable, status);
  }

  onExcluded(): void {
    this.#asksExclusion = true;
  }

  onServiceChecked(): void {
    this.#options.series.verified.add(1);
  }

  #fail(kind: CheckFailure, isRetriable: boolean, status = 0): void {
    this.#again(false, this.#judgeFailure(kind, isRetriable, status));
  }

  #judgeFailure(kind: CheckFailure, isRetriable: boolean, status = 0): HealthChange {
    const { series } = this.#options;
    const before = this.health.flags;
    const wasFirst = this.health.isFirstCheck;
    if (this.#asksExclusion) this.health.flags |= healthFlag.excluded;
    this.#asksExclusion = false;
    const change = this.health.fail(kind, isRetriable);
    series.failures.add(1);
    if (kind === "passive") series.passiveFailures.add(1);
    else if (kind !== "active") series.networkFailures.add(1);
    this.#tell(before, change, { isFirst: wasFirst, failure: kind, status });
    return change;
  }

  #tell(
    before: number,
    change: HealthChange,
    check: Pick<JudgedCheck, "isFirst" | "failure" | "status">,
  ): void {
    const { series, services, cluster, events, onChange, onFirst } = this.#options;
    const { flags } = this.health;
    events?.write(this.#member, { before, after: flags, ...check });
    if (((before ^ flags) & healthFlag.failed) !== 0) {
      const isFit = !this.health.has(healthFlag.failed);
      series.healthy.add(isFit ? 1 : -1);
      services.log.info(
        isFit ? "endpoint passes its health checks" : "endpoint fails its health checks",
        {
          cluster,
          endpoint: this.#key,
        },
      );
    }
    if (((before ^ flags) & healthFlag.degraded) !== 0) {
      series.degraded.add(this.health.has(healthFlag.degraded) ? 1 : -1);
    }
    if (change === "changed" || before !== flags) onChange(this.#key, flags);
    if (check.isFirst) onFirst();
  }

  #again(hasPassed: boolean, change: HealthChange): void {
    if (this.#isClosed) return;
    const { plan, services, hasTraffic } = this.#options;
    this.#timeout?.cancel();
    this.#interval?.cancel();
    const outcome = { hasPassed, change, hasTraffic: hasTraffic() };
    const delayMs = nextCheckMs(plan.settings, outcome, services.random);
    this.#interval = services.clock.schedule(delayMs, () => this.#ask());
  }
}

function makeProbe(parts: ProbeParts): Probe {
  const { probe } = parts.plan;
  return new ConnectionProbe((onOver) => {
    if (probe.kind === "tcp") return new TcpProbeConnection(parts, probe, onOver);
    if (probe.kind === "grpc") {
      return new Http2ProbeConnection(parts, () => grpcQuestion(probe, parts), onOver);
    }
    if (probe.version === "HTTP/1.1") return new HttpProbeConnection(parts, probe, onOver);
    return new Http2ProbeConnection(parts, () => http2HttpQuestion(probe, parts), onOver);
  });
}

function sameTarget(a: ProbeTarget, b: ProbeTarget): boolean {
  return (
    a.address.address === b.address.address &&
    a.address.port === b.address.port &&
    a.hostname === b.hostname &&
    a.tls === b.tls &&
    a.sourceAddress === b.sourceAddress &&
    a.internal === b.internal &&
    a.header === b.header
  );
}
