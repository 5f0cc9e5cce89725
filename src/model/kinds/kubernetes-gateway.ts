import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const kubernetesGateway: RefusedKind = {
  name: "Gateway.gateway.networking.k8s.io",
  group: gatewayApi,
  shortNames: ["gtw"],
  state: "refused",
  effect: "opens a gateway",
};
