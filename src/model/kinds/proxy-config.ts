import type { RefusedKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const proxyConfig: RefusedKind = {
  name: "ProxyConfig",
  group: networking.group,
  state: "refused",
  effect: "configures a workload's proxy",
};
