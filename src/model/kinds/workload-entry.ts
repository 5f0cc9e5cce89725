import type { RefusedKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const workloadEntry: RefusedKind = {
  name: "WorkloadEntry",
  group: networking.group,
  shortNames: ["we"],
  state: "refused",
  effect: "adds an endpoint outside the mesh's own workloads",
};
