import { peerAuthenticationSpec } from "../security.ts";
import type { HonouredKind } from "./kind.ts";
import { security } from "./kind.ts";

export const peerAuthentication: HonouredKind<"PeerAuthentication"> = {
  ...security,
  name: "PeerAuthentication",
  state: "honoured",
  shortNames: ["pa"],
  isSecurity: true,
  spec: peerAuthenticationSpec,
};
