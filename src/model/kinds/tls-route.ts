import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const tlsRoute: RefusedKind = {
  name: "TLSRoute",
  group: gatewayApi,
  state: "refused",
  effect: "routes TLS connections",
};
