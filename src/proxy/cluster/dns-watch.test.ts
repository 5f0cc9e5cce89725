import assert from "node:assert/strict";
import { setImmediate } from "node:timers/promises";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import type { ResolvedName } from "../../net/resolver.ts";
import { createLog } from "../../telemetry/log.ts";
import type { DnsFamily } from "./discovery.ts";
import { DnsWatch } from "./dns-watch.ts";
import type { EndpointDescription } from "./endpoint.ts";

interface WatchCase {
  readonly names?: readonly string[];
  readonly isStrict?: boolean;
  readonly family?: DnsFamily;
  readonly respectsTtl?: boolean;
  readonly pauses?: { readonly baseMs: number; readonly maxMs: number };
  /** What `api.example.com` is from the start. */
  readonly answer?: ResolvedName;
}

/** `answers` is what the name server says next; a missing one is a failure. */
function watch({ names = ["api.example.com"], ...plan }: WatchCase) {
  const clock = new FakeClock();
  const lines: string[] = [];
  const updates: string[] = [];
  const answers = new Map<string, ResolvedName>();
  if (plan.answer !== undefined) answers.set("api.example.com", plan.answer);
  let asked = 0;
  let endpoints: string[] | undefined;
  let described: readonly EndpointDescription[] = [];
  const log = createLog({ level: "info", format: "json", clock, sink: (line) => lines.push(line) });
  const watcher = new DnsWatch(
    {
      cluster: "outbound|443||api.example.com",
      discovery: {
        kind: "dns",
        assignment: { clusterName: "", endpoints: [], namedEndpoints: {} },
        isStrict: plan.isStrict ?? true,
        family: plan.family ?? "all",
        refreshMs: 5_000,
        respectsTtl: plan.respectsTtl ?? false,
        jitterMs: 0,
        pauses: plan.pauses,
      },
      localities: [
        {
          priority: 0,
          weight: 1,
          endpoints: names.map((name) => ({
            address: { address: name, port: 443 },
            hostname: "",
            metadata: {},
            weight: 1,
            tls: undefined,
            status: "UNKNOWN" as const,
          })),
        },
      ],
      onUpdate: (...ends) => updates.push(ends.join(" ")),
      onEndpoints: (localities) => {
        described = localities.flatMap((one) => one.endpoints);
        endpoints = localities.flatMap((one) => one.endpoints.map((e) => e.address.address));
      },
    },
    {
      resolve: async (name) => {
        asked++;
        const answer = answers.get(name);
        if (answer === undefined) throw new Error(`no answer for ${name}`);
        return answer;
      },
    },
    { clock, log, random: () => 1 },
  );
  return {
    answers,
    lines,
    updates,
    clock,
    watcher,
    asked: () => asked,
    endpoints: () => endpoints,
    described: () => described,
    advance: async (ms: number) => {
      clock.advance(ms);
      await setImmediate();
    },
  };
}

const both: ResolvedName = { addresses: ["192.0.2.1", "192.0.2.2", "2001:db8::1"], ttlMs: 60_000 };

test("DnsWatch makes endpoints of the addresses that the cluster wants", async () => {
  const cases: [WatchCase, string[]][] = [
    [{}, ["192.0.2.1", "192.0.2.2", "2001:db8::1"]],
    [{ family: "ipv4-preferred" }, ["192.0.2.1", "192.0.2.2"]],
    [{ family: "ipv6-preferred" }, ["2001:db8::1"]],
    [{ isStrict: false }, ["192.0.2.1"]],
  ];
  for (const [plan, expected] of cases) {
    const { endpoints, watcher } = watch({ ...plan, answer: both });
    await setImmediate();
    assert.deepEqual(endpoints(), expected);
    watcher.close();
  }
});

test("DnsWatch tries a failing name again after pauses that grow, and says so once", async () => {
  const { answers, advance, asked, endpoints, lines, watcher } = watch({});
  await setImmediate();
  assert.deepEqual(endpoints(), [], "the cluster is told that there is nothing yet");
  for (const [pauseMs, count] of [
    [499, 1],
    [1, 2],
    [1_000, 3],
    [2_000, 4],
  ] as const) {
    await advance(pauseMs);
    assert.equal(asked(), count);
  }
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? "", /does not resolve.*no answer for api\.example\.com/);
  answers.set("api.example.com", both);
  await advance(4_000);
  assert.deepEqual(endpoints(), both.addresses);
  assert.match(lines[1] ?? "", /resolves again/);
  watcher.close();
});

test("DnsWatch keeps the addresses of a name that stops resolving", async () => {
  const { answers, advance, asked, endpoints, watcher } = watch({ answer: both });
  await setImmediate();
  answers.clear();
  await advance(5_000);
  assert.equal(asked(), 2);
  assert.deepEqual(endpoints(), both.addresses);
  watcher.close();
});

test("DnsWatch has no endpoints where a name is none any more, but those of one endpoint with many addresses", async () => {
  for (const [isStrict, expected, updates] of [
    [true, [], ["update_success", "update_success", "update_success update_no_rebuild"]],
    [false, ["192.0.2.1"], ["update_success", "update_failure", "update_failure"]],
  ] as const) {
    const watched = watch({ isStrict, answer: both });
    await setImmediate();
    watched.answers.set("api.example.com", { addresses: [], ttlMs: undefined });
    await watched.advance(5_000);
    assert.deepEqual(watched.endpoints(), expected);
    await watched.advance(500);
    assert.deepEqual(watched.updates, updates);
    assert.equal(watched.lines.length, 1);
    watched.answers.set("api.example.com", both);
    await watched.advance(1_000);
    assert.match(watched.lines[1] ?? "", /resolves again/);
    watched.watcher.close();
  }
});

test("DnsWatch tells what became of each question", async () => {
  const { answers, advance, updates, watcher } = watch({ answer: both });
  await setImmediate();
  answers.set("api.example.com", { ...both, addresses: both.addresses.toReversed() });
  await advance(5_000);
  answers.set("api.example.com", { ...both, addresses: ["192.0.2.1"] });
  await advance(5_000);
  answers.clear();
  await advance(5_000);
  assert.deepEqual(updates, [
    "update_success",
    "update_success update_no_rebuild",
    "update_success",
    "update_failure",
  ]);
  watcher.close();
});

test("DnsWatch asks again when records die, within bounds, where the cluster respects that", async () => {
  for (const [ttlMs, lifeMs] of [
    [60_000, 60_000],
    [0, 1_000],
    [86_400_000, 300_000],
  ] as const) {
    const answer = { addresses: ["192.0.2.1"], ttlMs };
    const { advance, asked, watcher } = watch({ respectsTtl: true, answer });
    await setImmediate();
    await advance(lifeMs - 1);
    assert.equal(asked(), 1);
    await advance(1);
    assert.equal(asked(), 2);
    watcher.close();
  }
});

test("DnsWatch asks nobody for addresses, and nothing once it is closed", async () => {
  const { asked, endpoints, watcher } = watch({ names: ["192.0.2.7"] });
  await setImmediate();
  assert.deepEqual(endpoints(), ["192.0.2.7"]);
  assert.equal(asked(), 0);
  watcher.close();
  const failing = watch({});
  failing.watcher.close();
  await setImmediate();
  await failing.advance(60_000);
  assert.equal(failing.asked(), 1);
  assert.equal(failing.lines.length, 0);
});

test("DnsWatch has one endpoint for a name that is no list, and all its addresses lead there", async () => {
  const { described, watcher } = watch({ isStrict: false, answer: both });
  await setImmediate();
  const others = described().map((one) => one.others?.map(({ address }) => address));
  assert.deepEqual(others, [["192.0.2.2", "2001:db8::1"]]);
  watcher.close();
});

test("DnsWatch waits after failures as it is told to", async () => {
  const { advance, asked, watcher } = watch({ pauses: { baseMs: 100, maxMs: 300 } });
  await setImmediate();
  for (const [pauseMs, count] of [
    [99, 1],
    [1, 2],
    [200, 3],
    [299, 3],
    [1, 4],
    [300, 5],
  ] as const) {
    await advance(pauseMs);
    assert.equal(asked(), count);
  }
  watcher.close();
});
