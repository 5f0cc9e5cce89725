import type { RefusedKind } from "./kind.ts";

export const istioOperator: RefusedKind = {
  name: "IstioOperator",
  group: "install.istio.io",
  shortNames: ["iop"],
  state: "refused",
  effect: "holds settings of the whole mesh, which stand under meshConfig in heddle.yaml",
};
