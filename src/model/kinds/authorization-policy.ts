import { authorizationPolicySpec } from "../security.ts";
import type { HonouredKind } from "./kind.ts";
import { security } from "./kind.ts";

export const authorizationPolicy: HonouredKind<"AuthorizationPolicy"> = {
  ...security,
  name: "AuthorizationPolicy",
  state: "honoured",
  shortNames: ["ap"],
  isSecurity: true,
  spec: authorizationPolicySpec,
};
