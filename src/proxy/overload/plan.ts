/** What is watched when resources run short, and what is given up then, as plain values. */
export interface OverloadPlan {
  readonly refreshMs: number;
  /** From `from` of any resource on: memory can go in less than the usual time. */
  readonly hurry?: { readonly from: number; readonly refreshMs: number };
  readonly monitors: readonly OverloadMonitor[];
  readonly actions: readonly OverloadAction[];
  /** What a connection may come to hold, of its own and of the one behind it: set aside for young ones. */
  readonly holdBytes?: number;
  /** Open connections of all listeners. */
  readonly connectionsMax?: number;
  /** A connection with less to send is not reset for its memory when that begins. */
  readonly resetFromBytes: number;
}

export interface OverloadMonitor {
  readonly name: string;
  /** `limited`: what the kernel holds against the limit of the process's cgroup. */
  readonly of: "anonymous" | "limited" | "v8-heap";
  readonly maxBytes: number;
}

export interface OverloadAction {
  readonly name: OverloadActionName;
  readonly triggers: readonly OverloadTrigger[];
}

/** On from `from`; with `saturated`, wholly only there. Shares of a monitor's resource. */
export interface OverloadTrigger {
  readonly monitor: string;
  readonly from: number;
  readonly saturated?: number;
}

export type OverloadActionName =
  | "stop_accepting_requests"
  | "stop_accepting_connections"
  | "reject_incoming_connections"
  | "disable_http_keepalive"
  | "reset_high_memory_stream"
  | "shrink_heap";

export const overloadActions: readonly OverloadActionName[] = [
  "stop_accepting_requests",
  "stop_accepting_connections",
  "reject_incoming_connections",
  "disable_http_keepalive",
  "reset_high_memory_stream",
  "shrink_heap",
];

/** Envoy tracks streams from 1 MiB, and halves that: ours never hold so much. */
export const defaultResetFromBytes: number = 256 * 1024;

export interface MemoryBounds {
  /** Of the cgroup, where it has one. */
  readonly limitBytes: number | undefined;
  /** Of V8's heap: the process ends when it is full. */
  readonly heapLimitBytes: number;
}

/**
 * For a proxy that was told nothing: it refuses requests when 90 % of what it may use are used, and
 * connections soon after. What is left is for what is in flight.
 */
export function defaultOverloadPlan({ limitBytes, heapLimitBytes }: MemoryBounds): OverloadPlan {
  const heap: OverloadMonitor = { name: "v8_heap", of: "v8-heap", maxBytes: heapLimitBytes };
  const memory: OverloadMonitor[] =
    limitBytes === undefined
      ? []
      : [{ name: "cgroup_memory", of: "limited", maxBytes: limitBytes }];
  const monitors = [heap, ...memory];
  const at = (from: number, saturated?: number): readonly OverloadTrigger[] =>
    monitors.map(({ name }) => ({
      monitor: name,
      from,
      ...(saturated === undefined ? {} : { saturated }),
    }));
  return {
    // V8's heap alone grows slowly, and a process at rest shall rest.
    refreshMs: limitBytes === undefined ? 1000 : 250,
    hurry: { from: 0.6, refreshMs: 25 },
    monitors,
    actions: [
      { name: "shrink_heap", triggers: at(0.65, 0.8) },
      { name: "stop_accepting_requests", triggers: at(0.9) },
      { name: "reset_high_memory_stream", triggers: at(0.9, 0.97) },
      { name: "reject_incoming_connections", triggers: at(0.95) },
    ],
    connectionsMax: 65_536,
    holdBytes: 160 * 1024,
    resetFromBytes: defaultResetFromBytes,
  };
}
