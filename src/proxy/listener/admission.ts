/** Whether there is memory for another connection from outside, and whether its listener heeds that. */
import type { OverloadState } from "../overload.ts";

export interface AdmissionOptions {
  /** `bypass_overload_manager`: who asks for the health of the proxy is heard when memory is short. */
  readonly bypassesOverload: boolean;
  /** `ignore_global_conn_limit` */
  readonly ignoresConnectionLimit: boolean;
}

export interface ConnectionCounts {
  readonly open: number;
  /** Those that have come lately, whose memory is not seen yet. */
  readonly young: number;
}

export function isAdmitted(
  overload: OverloadState,
  { bypassesOverload, ignoresConnectionLimit }: AdmissionOptions,
  { open, young }: ConnectionCounts,
): boolean {
  if (bypassesOverload) return true;
  if (!ignoresConnectionLimit && open >= overload.connectionsMax) return false;
  return young < overload.youngConnectionsMax && !overload.refusesConnections;
}
