import { join } from "node:path";

import type { Clock } from "../base/clock.ts";
import { CertificateAuthority, type RootCredentials } from "../identity/authority.ts";
import { openRoot } from "../identity/root-store.ts";
import type { GrpcAddress } from "../net/grpc.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { watchConfigDirectory } from "./config-directory.ts";
import type { ControlPlane } from "./control-view.ts";
import type { ControlOptions } from "./options.ts";
import { AppliedStore } from "./plane/applied-store.ts";
import { Configuration } from "./plane/configuration.ts";
import { ControlMetrics } from "./plane/control-metrics.ts";
import { HeddleControlPlane } from "./plane/heddle-control-plane.ts";
import { MeshState } from "./plane/mesh-state.ts";

import { serve } from "./plane/serve.ts";
import { newTranslator, type Translate } from "./translate.ts";

export interface StartControlPlane {
  readonly options: ControlOptions;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
  /** For tests, as is the next. */
  readonly watchConfig?: typeof watchConfigDirectory;
  readonly translate?: Translate;
}

export interface StartedControlPlane extends ControlPlane {
  /** Where xDS and certificates are served, with the port that was given for port 0. */
  readonly secureAddress: GrpcAddress;
  readonly plainAddress: GrpcAddress | undefined;
  /** Resolves when every change so far has been translated for every proxy. */
  settled(): Promise<void>;
}

/**
 * Opens the root, reads what was applied, follows the configuration folder and listens. Rejects when
 * one of these is not possible; then nothing is left open. What runs comes by `setWorkloads`.
 */
export async function startControlPlane(start: StartControlPlane): Promise<StartedControlPlane> {
  const { options, clock, log } = start;
  const { stateDir, trustDomain, mesh, certificateTtlMs } = options;
  const readRoot = (): RootCredentials =>
    openRoot({ stateDir, trustDomain, mesh, nowMs: clock.nowMs() });
  const root = readRoot();
  const authority = new CertificateAuthority({ root, trustDomain, certificateTtlMs, clock });
  const metrics = new ControlMetrics(start.metrics);
  const plane = new HeddleControlPlane({
    configuration: new Configuration(new AppliedStore(join(stateDir, "applied"))),
    state: new MeshState(options),
    authority,
    checkRoot: () => void readRoot(),
    translate: start.translate ?? newTranslator(),
    newTranslate: () => start.translate ?? newTranslator(),
    metrics,
    clock,
    log: log.area("control"),
  });
  try {
    const watchConfig = start.watchConfig ?? watchConfigDirectory;
    const watch = watchConfig({
      directory: options.configDir,
      lastGoodFile: join(stateDir, "last-good.json"),
      onChange: (content) => plane.setFiles(content),
      clock,
      log: log.area("config"),
    });
    plane.onClose(() => Promise.resolve(watch.close()));
    await watch.ready;
    const listeners = await serve({
      options,
      plane,
      authority,
      metrics,
      exposeMetrics: () => start.metrics.expose(),
      clock,
      log: log.area("control"),
    });
    plane.onClose(() => listeners.close());
    return Object.assign(plane, {
      secureAddress: listeners.secure.address,
      plainAddress: listeners.plain?.address,
    });
  } catch (error) {
    await plane.close();
    throw error;
  }
}
