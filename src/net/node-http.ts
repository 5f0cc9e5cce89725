/**
 * `node:http` and `node:https` without an `import`: importing `node:http` reads every export of it,
 * among them getters that load a whole WebSocket and fetch client. That cost each of a mesh's processes
 * 60 ms of its start and 7 MB; taken this way it is 6 ms and 1 MB.
 */
type Http = typeof import("node:http");
type Https = typeof import("node:https");

export const nodeHttp: Http = process.getBuiltinModule("node:http");

/** Loaded when first asked for: few processes speak it. */
export function nodeHttps(): Https {
  return process.getBuiltinModule("node:https");
}
