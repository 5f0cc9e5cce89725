import { destinationRuleSpec } from "../destination-rule.ts";
import type { HonouredKind } from "./kind.ts";
import { networking } from "./kind.ts";

export const destinationRule: HonouredKind<"DestinationRule"> = {
  ...networking,
  name: "DestinationRule",
  state: "honoured",
  shortNames: ["dr"],
  spec: destinationRuleSpec,
};
