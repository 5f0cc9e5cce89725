import type { RefusedKind } from "./kind.ts";
import { security } from "./kind.ts";

export const requestAuthentication: RefusedKind = {
  name: "RequestAuthentication",
  group: security.group,
  shortNames: ["ra"],
  isSecurity: true,
  state: "refused",
  effect: "checks JSON Web Tokens; the workloads it selects deny every request",
};
