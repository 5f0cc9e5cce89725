import type { RefusedKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const sidecar: RefusedKind = {
  name: "Sidecar",
  group: networking.group,
  state: "refused",
  effect: "limits what a proxy sees and listens on",
};
