import type { RefusedKind } from "./kind.ts";

export const telemetry: RefusedKind = {
  name: "Telemetry",
  group: "telemetry.istio.io",
  state: "refused",
  effect: "changes metrics, traces and access logs",
};
