import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const httpRoute: RefusedKind = {
  name: "HTTPRoute",
  group: gatewayApi,
  state: "refused",
  effect: "routes HTTP requests",
};
