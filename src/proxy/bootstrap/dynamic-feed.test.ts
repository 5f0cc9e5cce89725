import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import { ScriptedFeed, xdsResource } from "../../../test/support/scripted-feed.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import type { TlsSecret } from "../../net/secret-source.ts";
import { Secret } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/secret.ts";
import { typeUrls, type XdsUpdate } from "../../xds/feed.ts";
import { DynamicFeed } from "./dynamic-feed.ts";
import { BootstrapSecrets } from "./secrets.ts";

interface Seen {
  readonly names: readonly string[];
  readonly removed: readonly string[];
  readonly isInterim: boolean;
}

function feedOf(initialFetchTimeoutMs: number): {
  readonly ads: ScriptedFeed;
  readonly clock: FakeClock;
  readonly feed: DynamicFeed;
  readonly seen: Seen[];
} {
  const [ads, clock] = [new ScriptedFeed(), new FakeClock()];
  const feed = new DynamicFeed({
    statics: new Map([[typeUrls.cluster, [xdsResource("static")]]]),
    sources: new Map([[typeUrls.cluster, { feed: ads, initialFetchTimeoutMs }]]),
    ads,
    wantSecrets: () => {},
    onSecrets: () => {},
    clock,
    log: silentLog,
  });
  const seen: Seen[] = [];
  feed.onUpdate = (update: XdsUpdate) => {
    const { resources, removed, isInterim = false } = update;
    seen.push({ names: resources.map(({ name }) => name), removed, isInterim });
    update.respond();
  };
  return { ads, clock, feed, seen };
}

test("DynamicFeed gives what stands in the bootstrap first, and goes on without an answer", async () => {
  const { clock, feed, seen } = feedOf(2000);
  feed.subscribe(typeUrls.cluster, "*");
  await feed.staticsApplied;
  assert.deepEqual(seen, [{ names: ["static"], removed: [], isInterim: true }]);
  clock.advance(1999);
  assert.equal(seen.length, 1);
  clock.advance(1);
  assert.deepEqual(seen[1], { names: [], removed: [], isInterim: false });
});

test("DynamicFeed waits for ever where it is told to, and no longer once there is an answer", () => {
  const forever = feedOf(0);
  forever.feed.subscribe(typeUrls.cluster, "*");
  forever.clock.advance(3_600_000);
  assert.equal(forever.seen.length, 1);
  const answered = feedOf(2000);
  answered.feed.subscribe(typeUrls.cluster, "*");
  answered.ads.send(typeUrls.cluster, [xdsResource("a")]);
  answered.clock.advance(10_000);
  assert.deepEqual(answered.seen[1], { names: ["a"], removed: [], isInterim: false });
  assert.equal(answered.seen.length, 2);
});

test("DynamicFeed refuses what has the name of a static resource, alone", () => {
  const { ads, feed, seen } = feedOf(0);
  feed.subscribe(typeUrls.cluster, "*");
  ads.send(typeUrls.cluster, [xdsResource("static"), xdsResource("other")], ["static"]);
  assert.deepEqual(seen[1], { names: ["other"], removed: [], isInterim: false });
  assert.deepEqual(ads.answers, ["static: is the name of a static resource"]);
});

test("BootstrapSecrets asks each source for its own, and keeps what a broken version would replace", () => {
  const [ads, service] = [new ScriptedFeed(), new ScriptedFeed()];
  const problems: string[] = [];
  const own: TlsSecret = { kind: "validation", trustedCaPem: "STATIC" };
  const secrets = new BootstrapSecrets({
    statics: new Map([["fixed", own]]),
    ads,
    open: (origin) => {
      assert.deepEqual(origin, { kind: "service", cluster: "sds" });
      return service;
    },
    onProblem: (name, reason) => problems.push(`${name}: ${reason}`),
  });
  const changed: string[] = [];
  secrets.onChange((name) => changed.push(name));
  secrets.want(
    new Map([
      ["fixed", { kind: "unsaid" }],
      ["lost", { kind: "unsaid" }],
      ["default", { kind: "service", cluster: "sds" }],
      ["root", { kind: "ads" }],
    ]),
  );
  assert.deepEqual(problems, ["lost: static_resources has no such secret"]);
  assert.deepEqual(service.wishes.get(typeUrls.secret), new Set(["default"]));
  assert.deepEqual(ads.wishes.get(typeUrls.secret), new Set(["root"]));
  const send = (version: string, fields: Fields<Secret>): void => {
    const bytes = Secret.encode(message(Secret, fields)).finish();
    service.send(typeUrls.secret, [{ name: "default", version, bytes }]);
  };
  send("1", { validationContext: { trustedCa: { inlineString: "CA" } } });
  assert.deepEqual(secrets.get("default"), { kind: "validation", trustedCaPem: "CA" });
  send("2", { validationContext: { trustedCa: { inlineString: "NEW" }, watchedDirectory: {} } });
  assert.deepEqual(secrets.get("default"), { kind: "validation", trustedCaPem: "CA" });
  assert.deepEqual(changed, ["default"]);
  assert.match(
    service.answers[1] ?? "",
    /^default: validation_context\.watched_directory: is not supported/,
  );
  assert.equal(secrets.get("fixed"), own);
});
