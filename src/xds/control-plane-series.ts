/** Envoy's series of the stream to a control plane. */
import type { MetricRegistry } from "../telemetry/metrics.ts";
import type { AdsStatus } from "./ads-client.ts";

export function controlPlaneSeries(metrics: MetricRegistry): (status: AdsStatus) => void {
  const connected = metrics.gauge(
    "envoy_control_plane_connected_state",
    "1 while the stream to the control plane stands.",
  );
  return ({ stream }) => connected.set(stream.kind === "connected" ? 1 : 0);
}
