import type { RefusedKind } from "./kind.ts";

export const trafficExtension: RefusedKind = {
  name: "TrafficExtension",
  group: "extensions.istio.io",
  state: "refused",
  effect: "runs WebAssembly or Lua in proxies",
};
