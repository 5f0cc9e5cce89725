import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { memoryFiles } from "../../../test/support/memory-files.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { CertificateAuthority, selfSignRoot } from "../../identity/authority.ts";
import { generateKey, requestFor } from "../../identity/key.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { IdentityKeeper } from "./identity-keeper.ts";

const dayMs = 86_400_000;

const own = "spiffe://cluster.local/ns/default/sa/cart";

function open(
  files = memoryFiles(),
  clock = new FakeClock(),
  certificateTtlMs = dayMs,
  spiffeId = own,
) {
  const root = generateKey();
  const certificatePem = selfSignRoot(
    root.privateKey,
    { trustDomain: "cluster.local", mesh: "test" },
    clock.nowMs(),
  );
  const authority = new CertificateAuthority({
    root: { key: root.privateKey, certificatePem },
    trustDomain: "cluster.local",
    certificateTtlMs,
    clock,
  });
  let failure: string | undefined;
  let requests = 0;
  const keeper = new IdentityKeeper({
    files,
    spiffeId,
    clock,
    log: silentLog,
    metrics: createMetricRegistry(),
    random: () => 0.5,
    request: async () => {
      requests += 1;
      if (failure !== undefined) throw new Error(failure);
      const key = generateKey();
      const csrPem = requestFor(key, "cart-0.default");
      const who = { instance: "cart-0.default", namespace: "default", serviceAccount: "cart" };
      const issued = authority.issueWorkload({ csrPem, ...who });
      assert.ok("certificatePem" in issued);
      return {
        privateKeyPem: key.privateKeyPem,
        chainPem: issued.certificatePem,
        rootPem: authority.rootPem,
      };
    },
  });
  /** Moves time, then lets the request's promises settle. */
  const advance = async (ms: number): Promise<void> => {
    clock.advance(ms);
    for (let i = 0; i < 5; i++) await Promise.resolve();
  };
  return {
    keeper,
    files,
    clock,
    advance,
    requests: () => requests,
    fail: (reason: string | undefined) => (failure = reason),
  };
}

test("IdentityKeeper renews with a new key at half of the lifetime", async () => {
  const { keeper, advance, requests } = open();
  keeper.start();
  assert.match(keeper.missing ?? "", /no certificate yet/);
  await advance(0);
  assert.equal(keeper.missing, undefined);
  const first = keeper.get("default");
  await advance(dayMs * 0.4);
  assert.equal(requests(), 1);
  await advance(dayMs * 0.11);
  assert.equal(requests(), 2);
  assert.notDeepEqual(keeper.get("default"), first);
  keeper.close();
});

test("IdentityKeeper renews short-lived certificates at half of their life, too", async () => {
  // Shorter than the minute by which certificates begin in the past.
  const { keeper, advance, requests } = open(undefined, undefined, 20_000);
  keeper.start();
  await advance(0);
  for (let second = 0; second < 60; second += 1) await advance(1000);
  assert.ok(requests() >= 6 && requests() <= 8, String(requests()));
  keeper.close();
});

test("IdentityKeeper starts from disk without an authority, until the certificate expires", async () => {
  const first = open();
  first.keeper.start();
  await first.advance(0);
  first.keeper.close();

  const second = open(first.files, first.clock);
  second.fail("connection refused");
  second.keeper.start();
  assert.equal(second.keeper.missing, undefined);
  assert.deepEqual(second.keeper.get("ROOTCA"), first.keeper.get("ROOTCA"));
  await second.advance(dayMs);
  assert.match(second.keeper.missing ?? "", /expired at .* connection refused/);
  second.keeper.close();

  const third = open(first.files, second.clock);
  third.fail("connection refused");
  third.keeper.start();
  await third.advance(0);
  assert.equal(third.keeper.get("default"), undefined);
  assert.match(third.keeper.missing ?? "", /expired at .* connection refused/);
  third.fail(undefined);
  await third.advance(60_000);
  assert.equal(third.keeper.missing, undefined);
  third.keeper.close();
});

test("IdentityKeeper asks again with growing pauses, and tells when the secret changes", async () => {
  const { keeper, advance, requests, fail } = open();
  const changes: string[] = [];
  keeper.onChange((name) => void changes.push(name));
  fail("unavailable");
  keeper.start();
  for (let i = 0; i < 60; i++) await advance(1000);
  assert.ok(requests() >= 4 && requests() <= 12, String(requests()));
  assert.match(keeper.missing ?? "", /unavailable/);
  fail(undefined);
  await advance(30_000);
  assert.deepEqual(changes, ["default", "ROOTCA"]);
  keeper.close();
});

test("IdentityKeeper does not use a certificate of another identity", async () => {
  const first = open();
  first.keeper.start();
  await first.advance(0);
  first.keeper.close();
  const other = open(first.files, first.clock, dayMs, `${own}-2`);
  other.fail("connection refused");
  other.keeper.start();
  assert.equal(other.keeper.get("default"), undefined);
  other.keeper.close();
});

test("IdentityKeeper uses a certificate that the disk has no room for", async () => {
  const full = memoryFiles();
  full.write = () => {
    throw new Error("no space left on device");
  };
  const { keeper, advance, requests } = open(full);
  keeper.start();
  await advance(0);
  assert.equal(keeper.missing, undefined);
  await advance(dayMs * 0.4);
  assert.equal(requests(), 1);
  keeper.close();
});

test("IdentityKeeper.hurry() ends a pause after failures, and nothing else", async () => {
  const { keeper, advance, requests, fail } = open();
  fail("unavailable");
  keeper.start();
  for (let i = 0; i < 40; i++) await advance(1000);
  fail(undefined);
  const before = requests();
  keeper.hurry();
  await advance(500);
  assert.equal(requests(), before + 1);
  keeper.hurry();
  await advance(1000);
  assert.equal(requests(), before + 1);
  keeper.close();
});

test("IdentityKeeper does not use a damaged file", async () => {
  const files = memoryFiles();
  files.write("identity.json", '{"privateKeyPem":"x","chainPem":"y","rootPem":"z"}');
  const { keeper, advance } = open(files);
  keeper.start();
  assert.equal(keeper.get("default"), undefined);
  await advance(0);
  assert.equal(keeper.missing, undefined);
  keeper.close();
});
