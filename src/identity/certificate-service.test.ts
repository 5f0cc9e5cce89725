import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import { openGrpcChannel } from "../net/grpc-client.ts";
import { startGrpcServer } from "../net/grpc-server.ts";
import { defaultGrpcKeepalive, GrpcError } from "../net/grpc.ts";
import { grpcStatus } from "../wire/grpc.ts";
import { CertificateAuthority, controlPlaneServerName } from "./authority.ts";
import { BearerTokens } from "./bearer-tokens.ts";
import { type Certificate, requestCertificate } from "./certificate-client.ts";
import { certificateService, type CertificateSubject } from "./certificate-service.ts";
import { generateKey } from "./key.ts";
import { renewalDelayMs } from "./renewal.ts";
import { RequestBudget } from "./request-budget.ts";
import { openRoot } from "./root-store.ts";
import { parseSpiffeId, spiffeIdOf } from "./spiffe.ts";

const token = "a-token-of-enough-bytes";
const cart = { instance: "cart-0.shop", namespace: "shop", serviceAccount: "cart" };

async function withStateDir<T>(run: (stateDir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), "heddle-ca-"));
  try {
    return await run(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

function openAuthority(stateDir: string, mesh = "test"): CertificateAuthority {
  const trustDomain = "cluster.local";
  return new CertificateAuthority({
    root: openRoot({ stateDir, trustDomain, mesh, nowMs: Date.now() }),
    trustDomain,
    certificateTtlMs: 86_400_000,
    clock: systemClock,
  });
}

/** Asks over TLS, as a sidecar does, `times` in a row; the last answer. */
async function askFor(
  authority: CertificateAuthority,
  { rootPem = authority.rootPem, presented = token, times = 1, limited = 0 } = {},
): Promise<Certificate> {
  let refused = 0;
  const tokens = new BearerTokens<CertificateSubject>();
  const sha256 = createHash("sha256").update(token).digest("hex");
  tokens.replace([{ sha256, holder: cart }]);
  const key = generateKey();
  const own = authority.issueServer(
    key.publicKey,
    { dns: [controlPlaneServerName], addresses: [] },
    3_600_000,
  );
  const server = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    tls: { key: key.privateKeyPem, chain: own.chainPem },
    methods: [
      certificateService({
        authority,
        log: silentLog,
        budget: new RequestBudget({ burst: 3, perSecond: 0.001, clock: systemClock }),
        onLimited: () => (refused += 1),
        authenticate: (call) => {
          const subject = tokens.identify(call.metadata("authorization"));
          if (subject !== undefined) return subject;
          throw new GrpcError(grpcStatus.unauthenticated, "unknown token");
        },
      }),
    ],
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
  });
  const channel = openGrpcChannel({
    target: server.address,
    tls: () => ({ roots: rootPem, serverName: controlPlaneServerName }),
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
  const ask = async (): Promise<Certificate> =>
    await requestCertificate({
      channel,
      metadata: () => ({ authorization: `Bearer ${presented}` }),
      instance: cart.instance,
      rootPem,
    });
  try {
    for (let i = 1; i < times; i++) await ask();
    return await ask();
  } finally {
    assert.equal(refused, limited);
    channel.close();
    await server.close();
  }
}

test("requestCertificate() gets a certificate for a key that stays here", async () => {
  await withStateDir(async (stateDir) => {
    const authority = openAuthority(stateDir);
    const certificate = await askFor(authority);
    assert.equal(certificate.spiffeId, "spiffe://cluster.local/ns/shop/sa/cart");
    assert.equal(certificate.rootPem, authority.rootPem);
    assert.equal(certificate.chainPem.match(/BEGIN CERTIFICATE/g)?.length, 2);
    assert(certificate.chainPem.endsWith(authority.intermediatePem));
    assert.match(certificate.privateKeyPem, /^-----BEGIN PRIVATE KEY-----/);
    assert.ok(Math.abs(certificate.notAfterMs - Date.now() - 86_400_000) < 60_000);
  });
});

test("requestCertificate() is refused without the instance's token", async () => {
  await withStateDir(async (stateDir) => {
    const asked = askFor(openAuthority(stateDir), { presented: "a-token-of-somebody" });
    await assert.rejects(asked, { code: grpcStatus.unauthenticated });
  });
});

test("certificateService() refuses an instance that asks too often, and counts it", async () => {
  await withStateDir(async (stateDir) => {
    const asked = askFor(openAuthority(stateDir), { times: 4, limited: 1 });
    await assert.rejects(asked, {
      code: grpcStatus.resourceExhausted,
      message: /^cart-0\.shop asks for certificates too often; ask again in \d+ ms$/,
    });
  });
});

test("requestCertificate() does not speak to a control plane of another mesh", async () => {
  await withStateDir(async (stateDir) => {
    const other = openAuthority(join(stateDir, "other")).rootPem;
    const asked = askFor(openAuthority(stateDir), { rootPem: other });
    await assert.rejects(asked, { code: grpcStatus.unavailable });
  });
});

test("BearerTokens.identify() knows nothing but whole tokens", () => {
  const tokens = new BearerTokens<string>();
  const sha256 = createHash("sha256").update(token).digest("hex");
  tokens.replace([
    { sha256, holder: "cart" },
    { sha256: "", holder: "nobody" },
  ]);
  assert.equal(tokens.identify(`Bearer ${token}`), "cart");
  for (const header of [undefined, "", "Bearer ", token, `bearer ${token}`, `Bearer ${token} `]) {
    assert.equal(tokens.identify(header), undefined);
  }
});

test("parseSpiffeId() takes the mesh's form and refuses the rest", () => {
  const text = "spiffe://cluster.local/ns/shop/sa/cart";
  const parts = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "cart" };
  assert.deepEqual(parseSpiffeId(text)?.parts, parts);
  assert.equal(spiffeIdOf(parts), text);
  for (const bad of [
    "spiffe://cluster.local/ns/shop/sa/cart/",
    "spiffe://cluster.local/ns/shop/sa/",
    "spiffe://cluster.local/ns/../sa/cart",
    "spiffe://Cluster.local/ns/shop/sa/cart",
    "spiffe://cluster.local:80/ns/shop/sa/cart",
    "https://cluster.local/ns/shop/sa/cart",
    "spiffe://cluster.local/ns/shop/sa/c%61rt",
    "spiffe://cluster.local/ns/shop/sa/cart\n",
  ]) {
    assert.equal(parseSpiffeId(bad), undefined, bad);
  }
});

test("renewalDelayMs() is half of what is left, give or take a tenth, and never nothing", () => {
  const delay = (random: number, notAfterMs = 100_000) =>
    renewalDelayMs({ nowMs: 0, notAfterMs }, random);
  assert.deepEqual([delay(0), delay(0.5), delay(1)], [45_000, 50_000, 55_000]);
  assert.equal(delay(0.5, -5), 1000);
});
