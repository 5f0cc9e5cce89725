import assert from "node:assert/strict";
import { test } from "node:test";

import { typeUrls } from "../feed.ts";
import { backOffMs } from "./back-off.ts";
import { DeltaClientSubscription } from "./delta-subscription.ts";

const resource = (name: string, version = "1") => ({ name, version, bytes: new Uint8Array() });

test("DeltaClientSubscription asks again for what it is told to, once, on the stream it has", () => {
  const subscription = new DeltaClientSubscription("type", "*");
  subscription.refresh("a");
  assert.deepEqual(subscription.nextRequest()?.subscribe, []);
  assert.equal(subscription.nextRequest(), undefined);
  subscription.refresh("a");
  assert.deepEqual(subscription.nextRequest()?.subscribe, ["a"]);
  assert.equal(subscription.nextRequest(), undefined);
  subscription.refresh("a");
  subscription.streamLost();
  assert.deepEqual(subscription.nextRequest()?.subscribe, []);
});

test("nextRequest() names what is wanted, once, then only differences", () => {
  const routes = new DeltaClientSubscription(typeUrls.route, new Set(["a", "b"]));
  assert.deepEqual(routes.nextRequest(), {
    subscribe: ["a", "b"],
    unsubscribe: [],
    initialVersions: {},
  });
  assert.equal(routes.nextRequest(), undefined);
  routes.setWish(new Set(["b", "c"]));
  assert.deepEqual(routes.nextRequest(), {
    subscribe: ["c"],
    unsubscribe: ["a"],
    initialVersions: {},
  });
});

test("nextRequest() asks for nothing rather than for everything when nothing is wanted", () => {
  const routes = new DeltaClientSubscription(typeUrls.route, new Set());
  assert.equal(routes.nextRequest(), undefined);
});

test("nextRequest() tells another server what was accepted from the last", () => {
  const clusters = new DeltaClientSubscription(typeUrls.cluster, "*");
  clusters.nextRequest();
  clusters.accepted([resource("a", "1"), resource("b", "2")], []);
  clusters.accepted([], ["b"]);
  clusters.streamLost();
  assert.deepEqual(clusters.nextRequest(), {
    subscribe: [],
    unsubscribe: [],
    initialVersions: { a: "1" },
  });
});

test("nextRequest() leaves the wildcard by its name", () => {
  const clusters = new DeltaClientSubscription(typeUrls.cluster, "*");
  clusters.nextRequest();
  clusters.setWish(new Set(["a"]));
  assert.deepEqual(clusters.nextRequest(), {
    subscribe: ["a"],
    unsubscribe: ["*"],
    initialVersions: {},
  });
});

test("receive() refuses a name that comes twice", () => {
  const clusters = new DeltaClientSubscription(typeUrls.cluster, "*");
  for (const response of [
    { resources: [resource("a"), resource("a")], removed: [] },
    { resources: [resource("a")], removed: ["a"] },
  ]) {
    assert.deepEqual(clusters.receive(response), {
      kind: "broken",
      reason: "resource a twice in a response",
    });
  }
});

test("receive() drops what is no longer wanted", () => {
  const routes = new DeltaClientSubscription(typeUrls.route, new Set(["a"]));
  const received = routes.receive({ resources: [resource("a"), resource("b")], removed: ["c"] });
  assert.deepEqual(received, { kind: "usable", resources: [resource("a")], removed: [] });
});

test("backOffMs() doubles up to half a minute, half of it random", () => {
  assert.deepEqual([backOffMs(0, 0), backOffMs(0, 1)], [250, 500]);
  assert.deepEqual([backOffMs(3, 0), backOffMs(3, 1)], [2000, 4000]);
  assert.deepEqual([backOffMs(1000, 0), backOffMs(1000, 1)], [15_000, 30_000]);
});
