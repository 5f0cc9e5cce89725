import type { RefusedKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const workloadGroup: RefusedKind = {
  name: "WorkloadGroup",
  group: networking.group,
  shortNames: ["wg"],
  state: "refused",
  effect: "describes workloads that register themselves",
};
