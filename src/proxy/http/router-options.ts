/** What the router, the last of the filters, is told beside its routes. */
import { Router } from "../../wire/gen/ts/envoy/extensions/filters/http/router/v3/router.ts";
import { honouredNamedRouter, honouredRouter } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import { refuse } from "../engine/refusal.ts";
import { isGrpcRetryCondition, isRetryCondition } from "../engine/retry-policy.ts";
import type { FilterStream, HttpFilter } from "./filter.ts";

export const routerUrl = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";

export interface RouterOptions {
  /** Neither upstreams nor clients are told by `x-envoy-…` what no route says that they shall be. */
  readonly isSilent: boolean;
  /** The time that a proxy before this one has told the server it has is the route's timeout. */
  readonly heedsExpected: boolean;
  /** Requests get a span of their own towards the upstream. */
  readonly spawnsSpans: boolean;
}

/** One that comes by name says nothing of this. */
export function compileRouter(found: { readonly bytes: Uint8Array } | undefined): RouterOptions {
  // What it may say is checked where its filters are made.
  const router = found === undefined ? Router.create() : Router.decode(found.bytes);
  return {
    isSilent: router.suppressEnvoyHeaders,
    heedsExpected: router.respectExpectedRqTimeout,
    spawnsSpans: router.startChildSpan,
  };
}

/** What a router does as the last of the filters: looks whether fields are sound. */
export function createRouterFilters(
  bytes: Uint8Array,
  {
    name,
    path,
    isNamed,
  }: { readonly name: string; readonly path: string; readonly isNamed: boolean },
): readonly HttpFilter[] {
  const table = isNamed ? honouredNamedRouter : honouredRouter;
  const { strictCheckHeaders } = honoured(Router.decode(bytes), table, path);
  const checked = strictCheckHeaders.map((field, i) => {
    const isSound = checks.get(field);
    if (isSound !== undefined) return { field, isSound };
    return refuse(`${path}.strict_check_headers[${i}]`, `'${field}' cannot be checked`);
  });
  if (checked.length === 0) return [];
  const onRequest = (stream: FilterStream): "continue" | "answered" => {
    if (stream.outcome.kind !== "forward") return "continue";
    for (const { field, isSound } of checked) {
      const value = stream.request.headers.get(field);
      if (value === undefined || isSound(value)) continue;
      stream.reply("unsound-control", {
        body: `invalid header '${field}' with value '${value}'`,
        details: `request_headers_failed_strict_check{${field}}`,
      });
      return "answered";
    }
    return "continue";
  };
  return [{ name, onRequest }];
}

const isWhole = (value: string): boolean => /^\s*\+?\d{1,20}\s*$/.test(value);
const isListOf =
  (isKnown: (word: string) => boolean) =>
  (value: string): boolean =>
    value.split(",").every((word) => word.trim() === "" || isKnown(word.trim()));

const checks: ReadonlyMap<string, (value: string) => boolean> = new Map([
  ["x-envoy-upstream-rq-timeout-ms", isWhole],
  ["x-envoy-upstream-rq-per-try-timeout-ms", isWhole],
  ["x-envoy-max-retries", isWhole],
  ["x-envoy-retry-on", isListOf(isRetryCondition)],
  ["x-envoy-retry-grpc-on", isListOf(isGrpcRetryCondition)],
]);
