import assert from "node:assert/strict";
import { test } from "node:test";

import { create, fromJson, type JsonObject } from "@bufbuild/protobuf";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { createMetricRegistry, type OwnedMetricRegistry } from "../telemetry/metric-registry.ts";
import {
  type OverloadManager,
  OverloadManagerSchema,
} from "../wire/gen/es/envoy/config/overload/v3/overload_pb.ts";
import { registry } from "../wire/gen/es/registry.ts";
import { defaultOverloadPlan, Overload, OverloadFlags, type OverloadPlan } from "./overload.ts";
import { compileOverload } from "./overload/compile.ts";

const megabyte = 2 ** 20;

interface Subject {
  readonly clock: FakeClock;
  readonly overload: Overload;
  readonly metrics: OwnedMetricRegistry;
  readonly lines: string[];
  readonly resets: number[];
  used: number;
  heapElsewhere: number;
  collections: string[];
}

function start(plan: OverloadPlan, more: { readonly releaseFreed?: () => void } = {}): Subject {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const lines: string[] = [];
  const say = (message: string, fields?: object): void =>
    void lines.push(`${message} ${JSON.stringify(fields)}`);
  const resets: number[] = [];
  const subject: Subject = {
    clock,
    metrics,
    lines,
    resets,
    used: 0,
    heapElsewhere: 0,
    collections: [],
    overload: new Overload({
      plan,
      clock,
      metrics,
      log: { ...silentLog, warn: say, info: say },
      memory: {
        anonymousBytes: () => subject.used,
        limited: { limitBytes: 100 * megabyte, usedBytes: () => subject.used },
      },
      collectGarbage: (kind) => void subject.collections.push(kind),
      ...(more.releaseFreed === undefined ? {} : { releaseFreed: more.releaseFreed }),
      resetSlowest: (fromBytes) => void resets.push(fromBytes),
      heapElsewhere: () => subject.heapElsewhere,
    }),
  };
  subject.overload.start();
  return subject;
}

const bounds = { limitBytes: 100 * megabyte, heapLimitBytes: 2 ** 40 };

test("Overload refuses requests near the limit, then connections, and nothing below it", () => {
  const subject = start(defaultOverloadPlan(bounds));
  const at = (share: number): readonly boolean[] => {
    subject.used = share * megabyte;
    subject.clock.advance(250);
    const { refusesRequests, refusesConnections, endsConnections } = subject.overload.flags;
    return [refusesRequests, refusesConnections, endsConnections];
  };
  assert.deepEqual(at(50), [false, false, false]);
  assert.deepEqual(subject.collections, []);
  assert.deepEqual(at(70), [false, false, false]);
  assert.deepEqual(subject.collections, ["minor"], "garbage goes first");
  subject.clock.advance(225);
  assert.equal(subject.collections.length, 2, "it looks more often now");
  assert.deepEqual(at(82).slice(0, 1), [false]);
  assert.equal(subject.collections.filter((kind) => kind === "major").length, 1, "it costs");
  assert.deepEqual(at(91), [true, false, false]);
  assert.match(subject.metrics.expose(), /^envoy_overload_cgroup_memory_pressure 91$/m);
  const active = "envoy_overload_envoy_overload_actions_stop_accepting_requests_active";
  assert.match(subject.metrics.expose(), new RegExp(`^${active} 1$`, "m"));
  assert.deepEqual(at(96), [true, true, false]);
  assert.deepEqual(at(50), [false, false, false]);
  const told = subject.lines.filter((line) => line.includes("stop_accepting_requests"));
  assert.equal(told.length, 2, "once when it begins, once when it is over");
  assert.match(told[0] ?? "", /an action begins .*"cgroup_memory":"91 %"/);
  subject.overload.close();
});

test("Overload has the allocator give back what it keeps, before anything is collected", () => {
  let released = 0;
  const subject = start(defaultOverloadPlan(bounds), { releaseFreed: () => released++ });
  subject.clock.advance(60_000);
  assert.equal(released, 0);
  subject.used = 70 * megabyte;
  subject.clock.advance(250);
  assert.deepEqual([released, subject.collections], [1, []]);
  subject.clock.advance(25);
  assert.deepEqual([released, subject.collections], [1, ["minor"]]);
  subject.clock.advance(5000);
  assert.equal(released, 2, "it takes time");
  subject.used = 82 * megabyte;
  subject.clock.advance(3000);
  assert.equal(released, 5, "nearer to the limit it is worth more");
  subject.overload.close();
});

test("Overload says for how many new connections there is memory", () => {
  const subject = start(defaultOverloadPlan(bounds));
  subject.used = 41 * megabyte;
  subject.clock.advance(250);
  const { flags } = subject.overload;
  assert.equal(flags.youngConnectionsMax, Math.floor((49 * megabyte) / (160 * 1024)));
  const worker = new OverloadFlags(10, flags.shared, 2);
  assert.equal(worker.youngConnectionsMax, flags.youngConnectionsMax / 2);
  subject.overload.close();
  const free = start(defaultOverloadPlan({ limitBytes: undefined, heapLimitBytes: 2 ** 40 }));
  assert.equal(free.overload.flags.youngConnectionsMax, 2 ** 31 - 1);
  free.overload.close();
});

test("Overload resets connections with much to send, smaller ones the nearer the end is", () => {
  const subject = start(defaultOverloadPlan(bounds));
  for (const share of [50, 91, 96, 99]) {
    subject.used = share * megabyte;
    subject.clock.advance(share === 50 ? 250 : 25);
    if (share === 50) subject.clock.advance(225);
  }
  const sizes = subject.resets.map((bytes) => bytes / 1024);
  assert.deepEqual([...new Set(sizes)], [256, 32, 16]);
  subject.overload.close();
});

function configOf(json: JsonObject): OverloadManager {
  return fromJson(OverloadManagerSchema, json, { registry });
}

const monitors = "type.googleapis.com/envoy.extensions.resource_monitors.";
const heap = {
  name: "envoy.resource_monitors.fixed_heap",
  typedConfig: { "@type": `${monitors}fixed_heap.v3.FixedHeapConfig`, maxHeapSizeBytes: "1000" },
};

test("compileOverload() takes Envoy's monitors, actions and triggers", () => {
  const plan = compileOverload(
    configOf({
      refreshInterval: "0.25s",
      resourceMonitors: [
        heap,
        {
          name: "connections",
          typedConfig: {
            "@type": `${monitors}downstream_connections.v3.DownstreamConnectionsConfig`,
            maxActiveDownstreamConnections: "7",
          },
        },
        {
          name: "group",
          typedConfig: { "@type": `${monitors}cgroup_memory.v3.CgroupMemoryConfig` },
        },
      ],
      actions: [
        {
          name: "envoy.overload_actions.stop_accepting_requests",
          triggers: [{ name: heap.name, threshold: { value: 0.95 } }],
        },
        {
          name: "envoy.overload_actions.reset_high_memory_stream",
          triggers: [
            { name: "group", scaled: { scalingThreshold: 0.8, saturationThreshold: 0.9 } },
          ],
        },
      ],
      bufferFactoryConfig: { minimumAccountToTrackPowerOfTwo: 17 },
    }),
    bounds,
  );
  assert.deepEqual(plan, {
    refreshMs: 250,
    connectionsMax: 7,
    resetFromBytes: 131_072,
    monitors: [
      { name: heap.name, of: "anonymous", maxBytes: 1000 },
      { name: "group", of: "limited", maxBytes: 100 * megabyte },
    ],
    actions: [
      { name: "stop_accepting_requests", triggers: [{ monitor: heap.name, from: 0.95 }] },
      {
        name: "reset_high_memory_stream",
        triggers: [{ monitor: "group", from: 0.8, saturated: 0.9 }],
      },
    ],
  });
  assert.equal(compileOverload(undefined), undefined);
});

test("compileOverload() refuses by name what it would not act on", () => {
  const refused = (json: JsonObject, pattern: RegExp): void => {
    assert.throws(() => compileOverload(configOf(json)), pattern);
  };
  refused(
    { actions: [{ name: "envoy.overload_actions.reduce_timeouts" }] },
    /overload_manager\.actions\[0\]\.name: .*reduce_timeouts is not supported/,
  );
  refused({ loadshedPoints: [{ name: "x" }] }, /loadshed_points: is not supported/);
  refused(
    {
      actions: [
        {
          name: "envoy.overload_actions.shrink_heap",
          triggers: [{ name: "nothing", threshold: { value: 0.5 } }],
        },
      ],
    },
    /triggers\[0\]\.name: there is no resource monitor nothing/,
  );
  refused(
    {
      resourceMonitors: [
        {
          name: "group",
          typedConfig: { "@type": `${monitors}cgroup_memory.v3.CgroupMemoryConfig` },
        },
      ],
    },
    /resource_monitors\[0\]: the process is in no cgroup with a limit/,
  );
  assert.deepEqual(compileOverload(create(OverloadManagerSchema))?.actions, []);
});

test("Overload refuses requests while the heap of another thread is nearly full", () => {
  const subject = start(defaultOverloadPlan(bounds));
  const refusesAt = (share: number): boolean => {
    subject.heapElsewhere = share * bounds.heapLimitBytes;
    subject.clock.advance(250);
    return subject.overload.flags.refusesRequests;
  };
  assert.deepEqual([0.5, 0.95, 0.5].map(refusesAt), [false, true, false]);
  assert.ok(subject.collections.includes("major"), "it is asked to collect before");
});
