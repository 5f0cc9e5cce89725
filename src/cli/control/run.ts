/**
 * One control plane process: configuration, certificates and xDS, the metrics of what runs, and the
 * console over all of it. It is told what runs over Node's IPC channel, and ends with it.
 */
import { join } from "node:path";

import { systemClock } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import { startConsole } from "../../console/console.ts";
import { requestByService } from "../../control/service-request.ts";
import { startControlPlane, type StartedControlPlane } from "../../control/control-plane.ts";
import type {
  ControlOptions,
  ControlAppliedMessage,
  ControlProblemsMessage,
  ControlReadyMessage,
  WorkloadsMessage,
} from "../../control/options.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import { requestHttp } from "../../net/http-request.ts";
import { type MeshMetrics, startMeshMetrics } from "../../store/mesh-metrics.ts";
import type { ScrapeTarget } from "../../store/scraper.ts";
import { createLog } from "../../telemetry/log.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { projectRoot } from "../project-root.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { tellProblems } from "./tell-problems.ts";
import { watchProtocols } from "./watch-protocols.ts";

export interface ControlRun {
  readonly options: ControlOptions;
  readonly version: string;
  /** Resolves when the process is asked to end. */
  readonly stopAsked: Promise<void>;
  /** The channel to whoever runs the workloads; absent when started by hand. */
  readonly channel: ControlChannel | undefined;
}

export interface ControlChannel {
  send(message: ControlReadyMessage | ControlAppliedMessage | ControlProblemsMessage): void;
  onMessage(listener: (message: unknown) => void): void;
}

/** How long the first word on what runs is waited for before the control plane says it is ready. */
const firstMessageMs = 1000;
/** A proxy that does not answer must not keep the others' word back. */
const appliedMaxMs = 2000;
/** After that; an instance that leaves the mesh waits for them before it ends. */
const lateMaxMs = 8000;

/** Resolves when everything has ended; rejects when it could not start. */
export async function runControl({
  options,
  version,
  stopAsked,
  channel,
}: ControlRun): Promise<void> {
  const clock = systemClock;
  const metrics = createMetricRegistry();
  const log = createLog({
    level: options.logLevel,
    format: options.logFormat,
    clock,
    sink: (line) => process.stderr.write(line),
  });
  const controlPlane = await startControlPlane({ options, clock, log, metrics });
  const closers = [() => controlPlane.close()];
  try {
    const meshMetrics = startMeshMetrics({
      targets: () => (controlPlane.workloads()?.instances ?? []).flatMap(scrapeTargetOf),
      request: requestHttp,
      requestPrometheus: requestByService(requestHttp, () => controlPlane.workloads()),
      clock,
      log: log.area("metrics"),
      metrics,
    });
    closers.push(() => Promise.resolve(meshMetrics.close()));
    const heard = listen({ controlPlane, meshMetrics, channel, log });
    const console = await startConsole({
      mesh: options.mesh,
      version,
      listen: options.console,
      token: options.consoleToken,
      apiSocket: options.apiSocket,
      controlPlane,
      metrics: meshMetrics,
      stateDir: options.stateDir,
      log: log.area("console"),
      clock,
      ui: join(projectRoot(), "ui/dist"),
      limitations: () => limitationsOf(controlPlane),
    });
    closers.push(() => console.close());
    await Promise.race([heard, delay(channel === undefined ? 0 : firstMessageMs)]);
    await controlPlane.settled();
    channel?.send({ kind: "ready" });
    closers.push(
      watchProtocols({ controlPlane, metrics: meshMetrics, clock, log: log.area("metrics") }),
    );
    if (channel !== undefined) closers.push(tellProblems({ controlPlane, channel, clock }));
    log.info("control plane ready", { mesh: options.mesh });
    await stopAsked;
  } finally {
    // In reverse: who asks ends before who answers.
    for (const closeOne of closers.toReversed()) await closeOne();
  }
}

interface Listening {
  readonly controlPlane: StartedControlPlane;
  readonly meshMetrics: MeshMetrics;
  readonly channel: ControlChannel | undefined;
  readonly log: Logger;
}

/** Resolves with the first message on what runs. */
function listen({ controlPlane, meshMetrics, channel, log }: Listening): Promise<void> {
  return new Promise((resolve) => {
    channel?.onMessage((message) => {
      if (!isWorkloadsMessage(message)) return;
      try {
        controlPlane.setWorkloads(message);
        meshMetrics.use(message.prometheusUrl);
        const { revision } = message.snapshot;
        void tellApplied(revision, controlPlane, channel);
      } catch (error) {
        log.error("what runs cannot be taken over", { reason: messageOf(error) });
      }
      resolve();
    });
  });
}

async function tellApplied(
  revision: number,
  controlPlane: StartedControlPlane,
  channel: ControlChannel,
): Promise<void> {
  for (const timeoutMs of [appliedMaxMs, lateMaxMs]) {
    // oxlint-disable-next-line no-await-in-loop -- the second time for those who were late
    const { pending } = await controlPlane.waitFor([], { timeoutMs });
    const isEverywhere = pending.length === 0;
    if (isEverywhere || timeoutMs === appliedMaxMs) {
      channel.send({ kind: "applied", revision, isEverywhere });
    }
    if (isEverywhere) return;
  }
}

/** The channel's other end is our own supervisor: its shape is checked as far as it tells kinds apart. */
function isWorkloadsMessage(message: unknown): message is WorkloadsMessage {
  return (
    typeof message === "object" &&
    message !== null &&
    "kind" in message &&
    message.kind === "workloads" &&
    "snapshot" in message
  );
}

function scrapeTargetOf(instance: WorkloadInstance): readonly ScrapeTarget[] {
  const { name, namespace, metricsUrl, state } = instance;
  if (metricsUrl === "" || state === "stopped") return [];
  return [{ url: metricsUrl, labels: { instance: `${name}.${namespace}`, namespace, pod: name } }];
}

function limitationsOf(controlPlane: StartedControlPlane): readonly string[] {
  const instances = controlPlane.workloads()?.instances ?? [];
  if (!instances.some(({ capture }) => capture === "explicit")) return [];
  return [
    "explicit mode: a local process can reach an application around its sidecar",
    "explicit mode: an application that ignores its proxy settings is not in the mesh",
    "explicit mode: applications run as you, and can read their sidecars' keys and tokens",
    "explicit mode: applications can write what you can, the mesh's configuration among it",
  ];
}

function delay(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
