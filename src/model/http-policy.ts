/** Parts of an HTTP route that stand apart from routing: injected faults and CORS. */
import type { StringMatch } from "./matching.ts";
import { percentage, stringMatch } from "./matching.ts";
import { duration, flag, headerName, integer, oneOf, text } from "./scalar-types.ts";
import type { Type } from "./schema.ts";
import { list, object, refine } from "./schema.ts";

export interface FaultInjection {
  readonly delay?: { readonly percentage?: number; readonly fixedDelay: number };
  readonly abort?: {
    readonly percentage?: number;
    readonly httpStatus?: number;
    readonly grpcStatus?: string;
  };
}

const grpcStatus: Type<string> = oneOf(
  "OK",
  "CANCELLED",
  "UNKNOWN",
  "INVALID_ARGUMENT",
  "DEADLINE_EXCEEDED",
  "NOT_FOUND",
  "ALREADY_EXISTS",
  "PERMISSION_DENIED",
  "RESOURCE_EXHAUSTED",
  "FAILED_PRECONDITION",
  "ABORTED",
  "OUT_OF_RANGE",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
  "UNAUTHENTICATED",
);

export const faultInjection: Type<FaultInjection> = object<FaultInjection>({
  delay: object<NonNullable<FaultInjection["delay"]>>(
    { percentage, fixedDelay: duration({ minMs: 1 }) },
    {
      required: ["fixedDelay"],
      unhonoured: {
        exponentialDelay: {
          effect: "delays by a random time",
          rest: "stops",
          replaces: ["fixedDelay"],
        },
      },
      renamed: {
        percent: {
          successor: "percentage",
          type: integer({ min: 0, max: 100 }),
          instead: "percentage: {value: …}",
        },
      },
    },
  ),
  abort: object<NonNullable<FaultInjection["abort"]>>(
    { percentage, httpStatus: integer({ min: 200, max: 599 }), grpcStatus },
    {
      exactlyOneOf: [["httpStatus", "grpcStatus"]],
      unhonoured: {
        http2Error: {
          effect: "resets the HTTP/2 stream",
          rest: "stops",
          replaces: ["httpStatus"],
        },
      },
      deprecated: { percent: "percentage: {value: …}" },
    },
  ),
});

export interface CorsPolicy {
  readonly allowOrigins?: readonly StringMatch[];
  readonly allowMethods?: readonly string[];
  readonly allowHeaders?: readonly string[];
  readonly exposeHeaders?: readonly string[];
  readonly maxAge?: number;
  readonly allowCredentials?: boolean;
  readonly unmatchedPreflights?: "UNSPECIFIED" | "FORWARD" | "IGNORE";
}

export const corsPolicy: Type<CorsPolicy> = object<CorsPolicy>(
  {
    allowOrigins: list(stringMatch),
    allowMethods: list(text),
    allowHeaders: list(headerName),
    exposeHeaders: list(headerName),
    maxAge: duration(),
    allowCredentials: flag,
    unmatchedPreflights: oneOf("UNSPECIFIED", "FORWARD", "IGNORE"),
  },
  {
    renamed: {
      allowOrigin: {
        successor: "allowOrigins",
        type: list(refine(text, (value): StringMatch => ({ kind: "exact", value }))),
        instead: "allowOrigins: [{exact: …}]",
      },
    },
  },
);
