/** A DestinationRule's `connectionPool`: how many connections there may be, how long they last, what they speak. */
import { duration, flag, integer, oneOf } from "./scalar-types.ts";
import type { Place, Type } from "./schema.ts";
import { object } from "./schema.ts";
import type { YamlNode } from "./yaml.ts";

export interface ConnectionPool {
  readonly tcp?: {
    readonly maxConnections?: number;
    readonly connectTimeout?: number;
    readonly tcpKeepalive?: {
      readonly probes?: number;
      readonly time?: number;
      readonly interval?: number;
    };
    readonly maxConnectionDuration?: number;
    /** Milliseconds; 0 is none. */
    readonly idleTimeout?: number;
  };
  readonly http?: {
    readonly http1MaxPendingRequests?: number;
    readonly http2MaxRequests?: number;
    readonly maxRequestsPerConnection?: number;
    readonly maxRetries?: number;
    readonly idleTimeout?: number;
    readonly h2UpgradePolicy?: UpgradePolicy;
    readonly useClientProtocol?: boolean;
    readonly maxConcurrentStreams?: number;
    readonly http2KeepAlive?: { readonly interval: number; readonly timeout: number };
  };
}

export type UpgradePolicy = "DEFAULT" | "DO_NOT_UPGRADE" | "UPGRADE";

/** A number of Istio's; 0 is no limit. */
export const limit: Type<number> = integer({ min: 0, max: 2 ** 31 - 1 });

export const connectionPool: Type<ConnectionPool> = object<ConnectionPool>({
  tcp: object<NonNullable<ConnectionPool["tcp"]>>({
    maxConnections: limit,
    connectTimeout: duration({ minMs: 1 }),
    tcpKeepalive: object<{
      readonly probes?: number;
      readonly time?: number;
      readonly interval?: number;
    }>({
      probes: limit,
      time: duration({ minMs: 1000 }),
      interval: duration({ minMs: 1000 }),
    }),
    maxConnectionDuration: duration({ minMs: 1 }),
    idleTimeout: duration(),
  }),
  http: object<NonNullable<ConnectionPool["http"]>>(
    {
      http1MaxPendingRequests: limit,
      http2MaxRequests: limit,
      maxRequestsPerConnection: limit,
      maxRetries: limit,
      idleTimeout: duration({ minMs: 1 }),
      h2UpgradePolicy: oneOf("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"),
      useClientProtocol: flag,
      maxConcurrentStreams: limit,
      http2KeepAlive: object<{ readonly interval: number; readonly timeout: number }>(
        { interval: duration({ minMs: 1 }), timeout: duration({ minMs: 1 }) },
        { required: ["interval", "timeout"] },
      ),
    },
    { check: checkProtocols },
  ),
});

function checkProtocols(
  http: Partial<NonNullable<ConnectionPool["http"]>>,
  node: YamlNode,
  place: Place,
): void {
  if (http.useClientProtocol !== true || http.h2UpgradePolicy !== "UPGRADE") return;
  const at = place.field("h2UpgradePolicy");
  at.complain(place.findings.positions.get(at.path) ?? node.position, {
    code: "config.no-effect",
    severity: "warning",
    message: "with useClientProtocol each request keeps its client's protocol",
    hint: "keep one of them",
  });
}
