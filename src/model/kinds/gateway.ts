import { gatewaySpec } from "../gateway.ts";
import type { HonouredKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const gateway: HonouredKind<"Gateway"> = {
  ...networking,
  name: "Gateway",
  state: "honoured",
  shortNames: ["gw"],
  spec: gatewaySpec,
};
