import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const tcpRoute: RefusedKind = {
  name: "TCPRoute",
  group: gatewayApi,
  state: "refused",
  effect: "routes TCP connections",
};
