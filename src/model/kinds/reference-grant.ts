import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const referenceGrant: RefusedKind = {
  name: "ReferenceGrant",
  group: gatewayApi,
  shortNames: ["refgrant"],
  state: "refused",
  effect: "permits references between namespaces",
};
