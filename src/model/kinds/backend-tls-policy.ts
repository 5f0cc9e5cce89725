import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const backendTlsPolicy: RefusedKind = {
  name: "BackendTLSPolicy",
  group: gatewayApi,
  shortNames: ["btlspolicy"],
  state: "refused",
  effect: "sets TLS to a backend",
};
