import assert from "node:assert/strict";
import { test } from "node:test";

import { connectionView } from "../../../test/support/request-view.ts";
import { FakeClock } from "../../../test/support/fake-clock.ts";
import { message } from "../../../test/support/message.ts";
import { ScriptedChannel } from "../../../test/support/scripted-channel.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { RBAC } from "../../wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { closeLater } from "./delayed-close.ts";
import { compileNetworkRbacFilter } from "./network-filters.ts";

test("closeLater() reads nothing meanwhile, and closes once", () => {
  const clock = new FakeClock();
  const channel = new ScriptedChannel();
  let closed = 0;
  const close = (): void => {
    closed++;
    channel.destroy();
  };
  closeLater(channel, { delayMs: 500, clock }, close);
  assert.equal(channel.isPaused, true);
  clock.advance(499);
  assert.equal(closed, 0);
  clock.advance(1);
  assert.deepEqual([closed, channel.isClosed], [1, true]);
  clock.advance(1000);
  assert.equal(closed, 1);
});

test("closeLater() lets go of a client that hangs up first", () => {
  const clock = new FakeClock();
  const channel = new ScriptedChannel();
  let closed = 0;
  closeLater(channel, { delayMs: 500, clock }, () => closed++);
  channel.close();
  assert.equal(closed, 1);
  clock.advance(1000);
  assert.equal(closed, 1);
});

test("closeLater() closes at once without a delay", () => {
  let closed = 0;
  closeLater(new ScriptedChannel(), { delayMs: 0, clock: new FakeClock() }, () => closed++);
  assert.equal(closed, 1);
});

test("compileNetworkRbacFilter() says how long a denial takes", () => {
  const denialOf = (fields: object): unknown => {
    const config = message(RBAC, { statPrefix: "s", rules: {}, ...fields });
    const metrics = createMetricRegistry();
    const filter = compileNetworkRbacFilter(RBAC.encode(config).finish(), { metrics } as never);
    return filter(connectionView({}), new ScriptedChannel());
  };
  const details = "rbac_access_denied_matched_policy[none]";
  assert.deepEqual(denialOf({}), { details, delayMs: 0 });
  const delayDeny = { seconds: 1n, nanos: 5e8 };
  assert.deepEqual(denialOf({ delayDeny }), { details, delayMs: 1500 });
});
