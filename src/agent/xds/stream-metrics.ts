/** What the agent shows of its xDS stream and of the configuration's age. */
import type { Clock } from "../../base/clock.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { AdsStatus } from "../../xds/ads-client.ts";
import { controlPlaneSeries } from "../../xds/control-plane-series.ts";
import { typeLabel } from "../../xds/snapshot.ts";

export interface StreamMetrics {
  /** `lost` when this status says so of a stream that stood. */
  onStatus(status: AdsStatus): "lost" | undefined;
  /** Ages grow by themselves: called before each exposition. */
  refresh(status: AdsStatus, confirmedAtMs: number | undefined): void;
}

export function streamMetrics(metrics: MetricRegistry, clock: Clock): StreamMetrics {
  const connected = metrics.gauge("heddle_xds_connected", "1 while the xDS stream stands.");
  const losses = metrics.counter("heddle_xds_stream_losses_total", "xDS streams that were lost.");
  const age = metrics.gauge(
    "heddle_snapshot_age_seconds",
    "Time since a control plane confirmed the configuration; 0 while connected.",
  );
  const tellEnvoys = controlPlaneSeries(metrics);
  let kind: AdsStatus["stream"]["kind"] = "connecting";
  return {
    onStatus(status) {
      const { stream } = status;
      tellEnvoys(status);
      const isLoss = stream.kind === "lost" && kind === "connected";
      if (isLoss) losses.add(1);
      kind = stream.kind;
      connected.set(kind === "connected" ? 1 : 0);
      return isLoss ? "lost" : undefined;
    },
    refresh({ stream, types }, confirmedAtMs) {
      const nowMs = clock.nowMs();
      const isConnected = stream.kind === "connected";
      age.set(isConnected || confirmedAtMs === undefined ? 0 : (nowMs - confirmedAtMs) / 1000);
      for (const [typeUrl, status] of types) {
        const labels = { type: typeLabel(typeUrl) };
        if (status.ackedAtMs !== undefined) {
          metrics
            .gauge("heddle_xds_seconds_since_ack", "Time since the last accepted answer.", labels)
            .set((nowMs - status.ackedAtMs) / 1000);
        }
        metrics
          .gauge("heddle_xds_refusals", "Answers refused since the start.", labels)
          .set(status.refusals);
      }
    },
  };
}
