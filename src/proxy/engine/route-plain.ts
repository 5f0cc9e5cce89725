import type { CompiledRoute } from "./route-table.ts";

/** A route that changes nothing: what redirects and direct responses build on. */
export function plainRoute(name: string, virtualHost: string): CompiledRoute {
  return {
    name,
    virtualHost,
    timeoutMs: 15_000,
    idleTimeoutMs: undefined,
    retry: undefined,
    rewritePath: (path) => path,
    hostRewrite: undefined,
    appendXForwardedHost: false,
    requestHeaders: [],
    responseHeaders: [],
    editRequest: undefined,
    editResponse: undefined,
    upgrades: new Map(),
    endsConnect: false,
    decoratorOperation: undefined,
    filterConfigs: new Map(),
    hash: undefined,
    mirrors: [],
  };
}
