/** An overload manager of a bootstrap as a plan; what cannot be honoured is refused. */
import { fromBinary } from "@bufbuild/protobuf";

import type {
  OverloadManager,
  Trigger,
} from "../../wire/gen/es/envoy/config/overload/v3/overload_pb.ts";
import { CgroupMemoryConfigSchema } from "../../wire/gen/es/envoy/extensions/resource_monitors/cgroup_memory/v3/cgroup_memory_pb.ts";
import { DownstreamConnectionsConfigSchema } from "../../wire/gen/es/envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections_pb.ts";
import { FixedHeapConfigSchema } from "../../wire/gen/es/envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap_pb.ts";
import { refuse } from "../engine/refusal.ts";
import {
  defaultResetFromBytes,
  type MemoryBounds,
  type OverloadAction,
  overloadActions,
  type OverloadMonitor,
  type OverloadPlan,
  type OverloadTrigger,
} from "./plan.ts";

const monitorPrefix = "type.googleapis.com/envoy.extensions.resource_monitors.";
const actionPrefix = "envoy.overload_actions.";
const defaultRefreshMs = 1000;

/** Throws a refusal that names the field; undefined where there is nothing to compile. */
export function compileOverload(
  config: OverloadManager | undefined,
  bounds: MemoryBounds = { limitBytes: undefined, heapLimitBytes: 0 },
): OverloadPlan | undefined {
  if (config === undefined) return undefined;
  if (config.loadshedPoints.length > 0)
    refuse("overload_manager.loadshed_points", "is not supported");
  const { monitors, connectionsMax } = compileMonitors(config, bounds);
  const known = new Set(monitors.map(({ name }) => name));
  const actions = config.actions.map(({ name, triggers, typedConfig }, i): OverloadAction => {
    const path = `overload_manager.actions[${i}]`;
    const found = overloadActions.find((one) => `${actionPrefix}${one}` === name);
    if (found === undefined) return refuse(`${path}.name`, `${name} is not supported`);
    if (typedConfig !== undefined) refuse(`${path}.typed_config`, "is not supported");
    const compiled = triggers.map((trigger, at) =>
      compileTrigger(trigger, `${path}.triggers[${at}]`, known),
    );
    return { name: found, triggers: compiled };
  });
  const { seconds = 0n, nanos = 0 } = config.refreshInterval ?? {};
  const refreshMs = Number(seconds) * 1000 + nanos / 1e6;
  const power = config.bufferFactoryConfig?.minimumAccountToTrackPowerOfTwo ?? 0;
  return {
    refreshMs: refreshMs > 0 ? Math.max(10, refreshMs) : defaultRefreshMs,
    monitors,
    actions,
    ...(connectionsMax === undefined ? {} : { connectionsMax }),
    resetFromBytes: power > 0 ? 2 ** power : defaultResetFromBytes,
  };
}

function compileMonitors(
  config: OverloadManager,
  bounds: MemoryBounds,
): { readonly monitors: readonly OverloadMonitor[]; readonly connectionsMax: number | undefined } {
  const monitors: OverloadMonitor[] = [];
  let connectionsMax: number | undefined;
  for (const [i, { name, configType }] of config.resourceMonitors.entries()) {
    const path = `overload_manager.resource_monitors[${i}]`;
    const typed = configType.value;
    const type = typed?.typeUrl.slice(monitorPrefix.length);
    if (typed === undefined) return refuse(`${path}.typed_config`, "is required");
    if (type === "fixed_heap.v3.FixedHeapConfig") {
      const { maxHeapSizeBytes } = fromBinary(FixedHeapConfigSchema, typed.value);
      if (maxHeapSizeBytes <= 0n) refuse(`${path}.max_heap_size_bytes`, "must be more than 0");
      monitors.push({ name, of: "anonymous", maxBytes: Number(maxHeapSizeBytes) });
    } else if (type === "cgroup_memory.v3.CgroupMemoryConfig") {
      const { maxMemoryBytes } = fromBinary(CgroupMemoryConfigSchema, typed.value);
      const { limitBytes } = bounds;
      if (limitBytes === undefined) refuse(path, "the process is in no cgroup with a limit");
      const maxBytes =
        maxMemoryBytes > 0n ? Math.min(Number(maxMemoryBytes), limitBytes) : limitBytes;
      monitors.push({ name, of: "limited", maxBytes });
    } else if (type === "downstream_connections.v3.DownstreamConnectionsConfig") {
      const found = fromBinary(DownstreamConnectionsConfigSchema, typed.value);
      connectionsMax = Number(found.maxActiveDownstreamConnections);
    } else refuse(`${path}.typed_config`, `${typed.typeUrl} is not supported`);
  }
  return { monitors, connectionsMax };
}

function compileTrigger(
  { name, triggerOneof }: Trigger,
  path: string,
  known: ReadonlySet<string>,
): OverloadTrigger {
  if (!known.has(name)) refuse(`${path}.name`, `there is no resource monitor ${name}`);
  if (triggerOneof.case === "threshold") return { monitor: name, from: triggerOneof.value.value };
  if (triggerOneof.case === undefined) return refuse(path, "threshold or scaled is required");
  const { scalingThreshold, saturationThreshold } = triggerOneof.value;
  if (scalingThreshold >= saturationThreshold) {
    refuse(`${path}.scaled`, "scaling_threshold must be below saturation_threshold");
  }
  return { monitor: name, from: scalingThreshold, saturated: saturationThreshold };
}
