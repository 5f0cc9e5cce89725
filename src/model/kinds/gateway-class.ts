import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const gatewayClass: RefusedKind = {
  name: "GatewayClass",
  group: gatewayApi,
  shortNames: ["gc"],
  state: "refused",
  effect: "names a gateway implementation",
};
