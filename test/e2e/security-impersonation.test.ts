/**
 * Nobody becomes somebody else at a running control plane: its certificate authority goes by the token
 * alone, and so does xDS. Explicit mode, because there a test can reach the port that sidecars use;
 * what answers there is the same process in every mode.
 */
import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { systemClock } from "../../src/base/clock.ts";
import type { SidecarOptions } from "../../src/base/sidecar-options.ts";
import type { ControlOptions } from "../../src/control/options.ts";
import { controlPlaneServerName } from "../../src/identity/authority.ts";
import { requestCertificate } from "../../src/identity/certificate-client.ts";
import { createCertificatePath } from "../../src/identity/certificate-service.ts";
import { generateKey, requestFor } from "../../src/identity/key.ts";
import { certificateRequestBudget } from "../../src/identity/request-budget.ts";
import { type GrpcChannel, openGrpcChannel } from "../../src/net/grpc-client.ts";
import { defaultGrpcKeepalive, GrpcError } from "../../src/net/grpc.ts";
import { grpcStatus } from "../../src/wire/grpc.ts";
import { IstioCertificateRequest } from "../../src/wire/gen/ts/security/v1alpha1/ca.ts";
import { Node } from "../../src/wire/gen/ts/envoy/config/core/v3/base.ts";
import { AdsClient } from "../../src/xds/ads-client.ts";
import { typeUrls } from "../../src/xds/feed.ts";
import { silentLog } from "../support/silent-log.ts";
import { askConsole, eventually, startMesh, type TestMesh } from "./support/mesh.ts";

const meshFile = `
mesh: impersonation
console: { port: 0 }
workloads:
- { name: victim, serviceAccount: victim, command: [{exec}] }
- { name: intruder, serviceAccount: intruder, command: [{exec}] }
`;

let mesh: TestMesh;
let channel: GrpcChannel;
let rootPem = "";

const optionsOf = (name: string): SidecarOptions =>
  JSON.parse(readFileSync(join(mesh.stateDir, "i", `${name}-0.default`, "options.json"), "utf8"));
const tokenOf = (name: string): string =>
  readFileSync(optionsOf(name).control.tokenFile, "utf8").trim();
const bearer = (token: string) => () => ({ authorization: `Bearer ${token}` });

before(async () => {
  const files = { "heddle.yaml": meshFile };
  mesh = await startMesh({ mode: "explicit", processes: "heddle", files });
  const { control } = optionsOf("intruder");
  const [address = "", port = ""] = control.address.split(":");
  rootPem = readFileSync(control.rootFile, "utf8");
  channel = openGrpcChannel({
    target: { address, port: Number(port) },
    tls: () => ({ roots: rootPem, serverName: controlPlaneServerName }),
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
  });
});

after(async () => {
  channel.close();
  await mesh.stop();
});

test("a certificate request that names another is answered for the token's holder", async () => {
  const metadata = bearer(tokenOf("intruder"));
  const { spiffeId } = await requestCertificate({
    channel,
    metadata,
    instance: "victim-0.default",
    rootPem,
  });
  assert.equal(spiffeId, "spiffe://cluster.local/ns/default/sa/intruder");
});

test("no token, a made-up one and half of one get no certificate", async () => {
  for (const token of ["", "x".repeat(43), tokenOf("victim").slice(0, -1)]) {
    const asked = requestCertificate({
      channel,
      metadata: bearer(token),
      instance: "victim-0.default",
      rootPem,
    });
    await assert.rejects(asked, /no token of a workload instance/);
  }
});

test("a request that is none gets no certificate", async () => {
  for (const csr of [
    "",
    "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
  ]) {
    const request = IstioCertificateRequest.encode(IstioCertificateRequest.fromPartial({ csr }));
    const metadata = bearer(tokenOf("intruder"))();
    const asked = channel.unary(createCertificatePath, request.finish(), {
      metadata,
      timeoutMs: 5000,
    });
    await assert.rejects(asked, /certificate request/);
  }
});

test("who asks for certificates without end is served a few, and others as before", async () => {
  const csr = requestFor(generateKey(), "intruder-0.default");
  const request = IstioCertificateRequest.encode(IstioCertificateRequest.fromPartial({ csr }));
  const bytes = request.finish();
  const metadata = bearer(tokenOf("intruder"))();
  const startMs = performance.now();
  const outcomes: PromiseSettledResult<Uint8Array>[] = [];
  for (let i = 0; i < 50; i++) {
    const asked = Array.from({ length: 40 }, async () => {
      return await channel.unary(createCertificatePath, bytes, { metadata, timeoutMs: 10_000 });
    });
    outcomes.push(...(await Promise.allSettled(asked)));
  }
  const [mayMost, got] = [
    certificateRequestBudget.burst + Math.ceil((performance.now() - startMs) / 1000),
    outcomes.filter(({ status }) => status === "fulfilled").length,
  ];
  assert(got > 0 && got <= mayMost, `${got} of at most ${mayMost} were issued`);
  const refusal = /^intruder-0\.default asks for certificates too often; ask again in \d+ ms$/;
  for (const outcome of outcomes) {
    if (outcome.status === "fulfilled") continue;
    const error: unknown = outcome.reason;
    assert(error instanceof GrpcError && error.code === grpcStatus.resourceExhausted);
    assert.match(error.message, refusal);
  }
  await requestCertificate({
    channel,
    metadata: bearer(tokenOf("victim")),
    instance: "victim-0.default",
    rootPem,
  });
  const options: ControlOptions = JSON.parse(
    readFileSync(join(mesh.stateDir, "control.json"), "utf8"),
  );
  const { address, port } = options.metrics ?? assert.fail("the control plane shows no metrics");
  const metrics = await (await fetch(`http://${address}:${port}/metrics`)).text();
  const limited = /^heddle_control_limit_total\{limit="certificate-requests"\} (\d+)$/m.exec(
    metrics,
  );
  assert.equal(Number(limited?.[1]), outcomes.length - got);
  const warnings = mesh.log("control.log").match(/certificate requests refused: too many/g);
  assert((warnings?.length ?? 0) <= mayMost, `${warnings?.length} lines in the log`);
});

test("xDS answers a token's holder alone, whatever node it says it is", async () => {
  const cases = [
    {
      token: tokenOf("intruder"),
      said: "victim",
      refusal: /the token of intruder-0.default, not of/,
    },
    { token: "x".repeat(43), said: "victim", refusal: /no token of a workload instance/ },
  ];
  for (const { token, said, refusal } of cases) {
    let updates = 0;
    const client = new AdsClient({
      channel,
      serverName: "control",
      node: Node.fromPartial({ id: optionsOf(said).nodeId }),
      metadata: bearer(token),
      clock: systemClock,
      log: silentLog,
    });
    client.onUpdate = () => (updates += 1);
    client.subscribe(typeUrls.cluster, "*");
    client.start();
    try {
      await eventually("the stream is refused", () => refusal.test(JSON.stringify(client.status)));
      assert.equal(updates, 0);
    } finally {
      client.close();
    }
  }
});

test("tokens, keys and sockets are their owner's alone, and status says what that is worth", async () => {
  for (const name of ["token", "identity.json", "options.json", "admin.sock"]) {
    const { mode } = statSync(join(mesh.stateDir, "i", "victim-0.default", name));
    assert.equal(mode & 0o077, 0, name);
  }
  assert.equal(statSync(join(mesh.stateDir, "api.sock")).mode & 0o077, 0);
  const status = await (await askConsole(mesh, "/api/status")).text();
  assert.match(status, /can read their sidecars' keys and tokens/);
});
