import { serviceEntrySpec } from "../service-entry.ts";
import type { HonouredKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const serviceEntry: HonouredKind<"ServiceEntry"> = {
  ...networking,
  name: "ServiceEntry",
  state: "honoured",
  shortNames: ["se"],
  spec: serviceEntrySpec,
};
