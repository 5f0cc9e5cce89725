/** One request as `heddle tap` tells it: what was decided, by which rule, and where its time went. */
import { formatSocketAddress } from "../../base/socket-address.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { phases, splitTime } from "../../telemetry/request-times.ts";

export interface Decision {
  /** Orders the requests of a proxy by their ends. */
  readonly sequence: number;
  /** Why it was kept. */
  readonly reason: "failed" | "slow" | "watched" | "sampled";
  /** ISO 8601. */
  readonly time: string;
  readonly direction: RequestRecord["direction"];
  readonly method: string;
  /** Without its query. */
  readonly path: string;
  readonly authority: string;
  readonly status: number;
  readonly grpcStatus?: number;
  readonly flags: string;
  readonly details: string;
  /** Of the policy that refused it. */
  readonly policy?: string;
  readonly route: string;
  readonly cluster: string;
  readonly endpoint?: string;
  readonly attempts: number;
  readonly durationMs: number;
  /** The proxy's own share. */
  readonly overheadMs: number;
  /** Milliseconds of each phase that there was. */
  readonly phases: Readonly<Record<string, number>>;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly client: string;
  /** Who the client is by its certificate. */
  readonly peer?: string;
  readonly requestId: string;
  readonly traceId?: string;
}

const pathCharsMax = 512;

export function decisionOf(
  record: RequestRecord,
  sequence: number,
  reason: Decision["reason"],
): Decision {
  const { times, grpcStatus, traceId, upstreamHost } = record;
  const [peer] = record.downstreamPeerUriSans;
  const policy = /^rbac_access_denied_matched_policy\[(.*)\]$/s.exec(record.responseCodeDetails);
  return {
    sequence,
    reason,
    time: new Date(record.startMs).toISOString(),
    direction: record.direction,
    method: record.method,
    path: (record.path.split("?", 1)[0] ?? "").slice(0, pathCharsMax),
    authority: record.authority.slice(0, pathCharsMax),
    status: record.responseCode,
    ...(grpcStatus === undefined ? {} : { grpcStatus }),
    flags: record.responseFlags,
    details: record.responseCodeDetails,
    ...(policy?.[1] === undefined ? {} : { policy: policy[1] }),
    route: record.routeName,
    cluster: record.upstreamCluster,
    ...(upstreamHost === undefined ? {} : { endpoint: formatSocketAddress(upstreamHost) }),
    attempts: record.upstreamAttempts,
    durationMs: rounded(record.durationMs),
    overheadMs: rounded(times?.ownMs ?? 0),
    phases: times === undefined ? {} : phasesOf(splitTime(times)),
    bytesReceived: record.bytesReceived,
    bytesSent: record.bytesSent,
    client: record.downstreamRemoteAddress.address,
    ...(peer === undefined ? {} : { peer }),
    requestId: record.requestId.slice(0, pathCharsMax),
    ...(traceId === "" ? {} : { traceId }),
  };
}

function phasesOf(parts: readonly number[]): Record<string, number> {
  return Object.fromEntries(
    phases.flatMap((phase, i) => {
      const ms = parts[i] ?? Number.NaN;
      return Number.isNaN(ms) ? [] : [[phase, rounded(ms)] as const];
    }),
  );
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
