import type { RefusedKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const envoyFilter: RefusedKind = {
  name: "EnvoyFilter",
  group: networking.group,
  state: "refused",
  effect: "patches generated proxy configuration",
};
