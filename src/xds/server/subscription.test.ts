import assert from "node:assert/strict";
import { test } from "node:test";

import { typeUrls } from "../feed.ts";
import { encodedResource, type ResourceSet } from "../snapshot.ts";
import { type DeltaRequest, DeltaServerSubscription } from "./delta-subscription.ts";
import { SotwServerSubscription } from "./sotw-subscription.ts";
import type { Removals, ServerSubscription } from "./subscription.ts";

const view = (...names: readonly string[]): ResourceSet =>
  new Map(
    names.map((text) => {
      const [name = "", version = "1"] = text.split("@");
      return [name, encodedResource(name, Buffer.from(version))];
    }),
  );

const delta = (request: Partial<DeltaRequest>): DeltaRequest => ({
  resourceNamesSubscribe: [],
  resourceNamesUnsubscribe: [],
  initialResourceVersions: {},
  responseNonce: "",
  ...request,
});

/** Sends what is due and says what it was, as `names -removed`; undefined for nothing. */
function publish(
  subscription: ServerSubscription,
  resources: ResourceSet,
  nonce: string,
  removals: Removals = "now",
): string | undefined {
  const change = subscription.next(resources, removals);
  if (change === undefined) return undefined;
  subscription.sent(change, nonce);
  const names = change.resources.map(({ name }) => name);
  return [...names, ...change.removed.map((name) => `-${name}`)].join(" ");
}

test("DeltaServerSubscription: a first request without names is a wildcard where that exists", () => {
  const clusters = new DeltaServerSubscription(typeUrls.cluster, delta({}));
  assert.equal(clusters.wish, "*");
  assert.equal(publish(clusters, view("a", "b"), "1"), "a b");
  const endpoints = new DeltaServerSubscription(typeUrls.endpoint, delta({}));
  assert.deepEqual(endpoints.wish, new Set());
  assert.equal(publish(endpoints, view("a", "b"), "1"), "");
});

test("DeltaServerSubscription: an empty first view is answered, once", () => {
  const clusters = new DeltaServerSubscription(typeUrls.cluster, delta({}));
  assert.equal(publish(clusters, view(), "1"), "");
  clusters.receive(delta({ responseNonce: "1" }));
  assert.equal(publish(clusters, view(), "2"), undefined);
});

test("DeltaServerSubscription: only changes follow, one response at a time", () => {
  const clusters = new DeltaServerSubscription(typeUrls.cluster, delta({}));
  publish(clusters, view("a", "b", "c"), "1");
  assert.equal(publish(clusters, view("a@2", "b"), "2"), undefined, "the first is unanswered");
  const answer = clusters.receive(delta({ responseNonce: "1" }));
  assert.equal(answer?.kind, "acked");
  assert.equal(publish(clusters, view("a@2", "b"), "2"), "a -c");
});

test("DeltaServerSubscription: removals can wait", () => {
  const clusters = new DeltaServerSubscription(typeUrls.cluster, delta({}));
  publish(clusters, view("a", "b"), "1");
  clusters.receive(delta({ responseNonce: "1" }));
  const next = view("a@2");
  assert.equal(publish(clusters, next, "2", "later"), "a");
  clusters.receive(delta({ responseNonce: "2" }));
  assert.equal(publish(clusters, next, "3", "later"), undefined);
  assert.equal(publish(clusters, next, "3", "now"), "-b");
});

test("DeltaServerSubscription: a stale nonce answers nothing but its subscriptions count", () => {
  const routes = new DeltaServerSubscription(
    typeUrls.route,
    delta({ resourceNamesSubscribe: ["a"] }),
  );
  publish(routes, view("a", "b"), "1");
  const stale = delta({ responseNonce: "0", resourceNamesSubscribe: ["b"] });
  assert.equal(routes.receive(stale), undefined);
  assert.equal(routes.isOutstanding, true);
  routes.receive(delta({ responseNonce: "1" }));
  assert.equal(publish(routes, view("a", "b"), "2"), "b");
});

test("DeltaServerSubscription: a refusal carries the reason and is not repeated", () => {
  const clusters = new DeltaServerSubscription(typeUrls.cluster, delta({}));
  publish(clusters, view("a"), "1");
  const errorDetail = { code: 3, message: "bad a" };
  const answer = clusters.receive(delta({ responseNonce: "1", errorDetail }));
  assert.equal(answer?.kind === "refused" ? answer.reason : "", "bad a");
  assert.equal(publish(clusters, view("a"), "2"), undefined);
  assert.equal(publish(clusters, view("a@2"), "2"), "a");
});

test("DeltaServerSubscription: a name subscribed again is sent again", () => {
  const endpoints = new DeltaServerSubscription(
    typeUrls.endpoint,
    delta({ resourceNamesSubscribe: ["a"] }),
  );
  publish(endpoints, view("a"), "1");
  endpoints.receive(delta({ responseNonce: "1" }));
  endpoints.receive(delta({ resourceNamesSubscribe: ["a"] }));
  assert.equal(publish(endpoints, view("a"), "2"), "a");
});

test("DeltaServerSubscription: a name that does not exist is told, once, and sent when it comes", () => {
  const routes = new DeltaServerSubscription(
    typeUrls.route,
    delta({ resourceNamesSubscribe: ["x"] }),
  );
  assert.equal(publish(routes, view(), "1", "later"), "-x");
  routes.receive(delta({ responseNonce: "1" }));
  assert.equal(publish(routes, view(), "2"), undefined);
  assert.equal(publish(routes, view("x"), "2"), "x");
});

test("DeltaServerSubscription: an unsubscribed name is forgotten, or answered for by a wildcard", () => {
  const named = new DeltaServerSubscription(
    typeUrls.route,
    delta({ resourceNamesSubscribe: ["a", "b"] }),
  );
  publish(named, view("a", "b"), "1");
  named.receive(delta({ responseNonce: "1", resourceNamesUnsubscribe: ["b"] }));
  assert.equal(publish(named, view("a", "b@2"), "2"), undefined);

  const both = new DeltaServerSubscription(
    typeUrls.cluster,
    delta({ resourceNamesSubscribe: ["*", "a"] }),
  );
  publish(both, view("a", "b"), "1");
  both.receive(delta({ responseNonce: "1", resourceNamesUnsubscribe: ["a"] }));
  assert.equal(publish(both, view("a", "b"), "2"), "a");
  both.receive(delta({ responseNonce: "2", resourceNamesUnsubscribe: ["*"] }));
  assert.deepEqual(both.wish, new Set());
  assert.equal(publish(both, view("a@2", "b@2"), "3"), undefined);
});

test("DeltaServerSubscription: what the client kept is not sent again, what vanished is told", () => {
  const { version = "" } = view("a").get("a") ?? {};
  const clusters = new DeltaServerSubscription(
    typeUrls.cluster,
    delta({ initialResourceVersions: { a: version, b: "old", gone: "1" } }),
  );
  assert.equal(publish(clusters, view("a", "b"), "1"), "b -gone");
});

const sotw = (responseNonce: string, ...resourceNames: readonly string[]) => ({
  responseNonce,
  resourceNames,
});

test("SotwServerSubscription: every response holds all that was asked for", () => {
  const clusters = new SotwServerSubscription(typeUrls.cluster, sotw(""));
  assert.equal(publish(clusters, view("a", "b"), "1"), "a b");
  clusters.receive(sotw("1"));
  assert.equal(publish(clusters, view("a", "b"), "2"), undefined);
  assert.equal(publish(clusters, view("a@2", "b"), "2"), "a b");
});

test("SotwServerSubscription: what vanishes goes on being sent while removals wait", () => {
  const clusters = new SotwServerSubscription(typeUrls.cluster, sotw(""));
  publish(clusters, view("a", "b"), "1");
  clusters.receive(sotw("1"));
  const next = view("a@2");
  assert.equal(publish(clusters, next, "2", "later"), "a b");
  clusters.receive(sotw("2"));
  assert.equal(publish(clusters, next, "3", "now"), "a -b");
});

test("SotwServerSubscription: a request with a stale nonce is void, names and all", () => {
  const routes = new SotwServerSubscription(typeUrls.route, sotw("", "a"));
  publish(routes, view("a", "b"), "1");
  assert.equal(routes.receive(sotw("0", "a", "b")), undefined);
  assert.deepEqual(routes.wish, new Set(["a"]));
  assert.equal(routes.receive(sotw("1", "a", "b"))?.kind, "acked");
  assert.equal(publish(routes, view("a", "b"), "2"), "a b");
});

test("SotwServerSubscription: no names after names means nothing, not everything", () => {
  const clusters = new SotwServerSubscription(typeUrls.cluster, sotw("", "a"));
  publish(clusters, view("a", "b"), "1");
  clusters.receive(sotw("1"));
  assert.deepEqual(clusters.wish, new Set());
  assert.equal(publish(clusters, view("a@2", "b"), "2"), undefined);
});
