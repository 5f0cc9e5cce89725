import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const listenerSet: RefusedKind = {
  name: "ListenerSet",
  group: gatewayApi,
  shortNames: ["lset"],
  state: "refused",
  effect: "adds listeners to a gateway",
};
