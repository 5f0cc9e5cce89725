import { virtualServiceSpec } from "../virtual-service.ts";
import type { HonouredKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const virtualService: HonouredKind<"VirtualService"> = {
  ...networking,
  name: "VirtualService",
  state: "honoured",
  shortNames: ["vs"],
  spec: virtualServiceSpec,
};
