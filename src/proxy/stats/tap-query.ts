/** What whoever taps asks for, as the parameters of a query. */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { Decision } from "./decision.ts";

export interface TapQuery {
  /** The same for questions that differ only in where they go on. */
  readonly key: string;
  /** Asks again and again: what it asks for is kept for it. */
  readonly follows: boolean;
  readonly after: number | undefined;
  /** How many of what was kept, without `after`. */
  readonly last: number;
  readonly method: string | undefined;
  readonly pathPrefix: string | undefined;
  /** `404` or `5xx`. */
  readonly status: string | undefined;
  readonly only: "failed" | "slow" | undefined;
  matches(decision: Decision): boolean;
}

const names: ReadonlySet<string> = new Set(["after", "last", "method", "path", "status", "only"]);
const statusPattern = /^[1-5](?:\d\d|xx)$/;
const lastDefault = 20;

/** Throws what is wrong, for whoever asked. */
export function parseTapQuery(text: string): TapQuery {
  const query = new URLSearchParams(text);
  for (const name of query.keys()) {
    if (!names.has(name)) throw new Error(`tap has no parameter ${name}`);
  }
  const after = numberOf(query, "after");
  const method = query.get("method") ?? undefined;
  const pathPrefix = query.get("path") ?? undefined;
  const status = query.get("status") ?? undefined;
  const only = query.get("only") ?? undefined;
  if (status !== undefined && !statusPattern.test(status)) {
    throw new Error(`status is a code or a class like 5xx, not ${status}`);
  }
  if (only !== undefined && only !== "failed" && only !== "slow") {
    throw new Error(`only is failed or slow, not ${only}`);
  }
  const fields = { method, pathPrefix, status, only } as const;
  return {
    ...fields,
    key: JSON.stringify(fields),
    follows: query.has("after"),
    after,
    last: numberOf(query, "last") ?? lastDefault,
    matches: (decision) =>
      (method === undefined || decision.method === method) &&
      (pathPrefix === undefined || decision.path.startsWith(pathPrefix)) &&
      (status === undefined || isStatus(decision.status, status)) &&
      (only === undefined || decision.reason === only),
  };
}

function numberOf(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  if (!/^\d{1,16}$/.test(text)) throw new Error(`${name} is a number, not ${text}`);
  return Number(text);
}

function isStatus(code: number, wanted: string): boolean {
  const text = String(code);
  return wanted.endsWith("xx") ? text.length === 3 && text[0] === wanted[0] : text === wanted;
}

/** For requests that have not failed and were not slow: those are kept anyway. */
export function matcherOf(query: TapQuery): (record: RequestRecord) => boolean {
  const { method, pathPrefix, status, only } = query;
  if (only !== undefined) return () => false;
  return (record) =>
    (method === undefined || record.method === method) &&
    (pathPrefix === undefined || record.path.startsWith(pathPrefix)) &&
    (status === undefined || isStatus(record.responseCode, status));
}
