import type { RefusedKind } from "./kind.ts";

export const wasmPlugin: RefusedKind = {
  name: "WasmPlugin",
  group: "extensions.istio.io",
  state: "refused",
  effect: "runs WebAssembly in proxies",
};
