import type { RefusedKind } from "./kind.ts";
import { gatewayApi } from "./kind.ts";

export const grpcRoute: RefusedKind = {
  name: "GRPCRoute",
  group: gatewayApi,
  state: "refused",
  effect: "routes gRPC requests",
};
