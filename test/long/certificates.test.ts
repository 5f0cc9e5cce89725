/**
 * Certificates that live for two minutes, and an authority that is away for ten: what goes on, until
 * when, which error follows, word for word, at both ends, and what comes back by itself. Both data
 * planes wait at the same time; the test takes eleven minutes and hardly any work. Renewal under load
 * is in test/e2e/faults-certificates.test.ts.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";

import {
  type ControlDown,
  type DataPlane,
  dataPlanes,
  heddle,
  type LoadResult,
  metricsOf,
  readiness,
  settled,
  startFaultMesh,
  takeControlDown,
} from "../e2e/support/faults.ts";
import { eventually, type TestMesh } from "../e2e/support/mesh.ts";

const ttlMs = 120_000;
const awayMs = 600_000;
const server = (name: string): string => `
- name: ${name}
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]`;
const files = {
  "heddle.yaml": `
mesh: certificates
console: { port: 0 }
meshConfig: { accessLogFile: /dev/stdout, accessLogEncoding: JSON }
workloads:${server("kept")}${server("late")}${server("fresh")}
- name: client
  command: [{exec}]
`,
};
const instances = ["client-0", "fresh-0", "kept-0", "late-0"] as const;
const rate = 2;
const instant = String.raw`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z`;

interface Said {
  /** `upstream_transport_failure_reason` of the caller's access log. */
  readonly caller: RegExp;
  /** The line in the log of the sidecar that was called. */
  readonly called: RegExp;
}

/** What both ends write of a handshake that failed because the certificates have expired. */
const refusals: Readonly<Record<DataPlane, Said>> = {
  heddle: {
    // Envoy writes blanks of this field as underscores, and so does Heddle.
    caller:
      /^TLS_with_\S+:8080_failed:_its_certificate_is_not_valid_at_this_time_\(sni_\S+\.fresh\.default\S+,_presented_spiffe:\/\/cluster\.local\/ns\/default\/sa\/default,_valid_until_\S+,_CERT_HAS_EXPIRED\)$/,
    // Either end judges the other's certificate, so that each finds the other's to be too old.
    called:
      /a TLS handshake with a client failed .*code=tls-expired reason="TLS with \S+ failed: its certificate is not valid at this time \(sni \S+\.fresh\.default\S+, presented spiffe:\/\/cluster\.local\/ns\/default\/sa\/default, valid until [^,]+, CERT_HAS_EXPIRED\)"/,
  },
  envoy: {
    caller: /^TLS_error:.*CERTIFICATE_VERIFY_FAILED.*expired/,
    called:
      /a TLS handshake with a client failed: peer=\S+ .*sni=\S+\.fresh\.default\S+ .*SSLV3_ALERT_CERTIFICATE_EXPIRED/,
  },
};

describe("the authority is away for ten minutes", { concurrency: dataPlanes.length }, () => {
  for (const dataPlane of dataPlanes) {
    describe(dataPlane, { concurrency: 1 }, () => outage(dataPlane));
  }
});

function outage(dataPlane: DataPlane): void {
  let mesh: TestMesh;
  let down: ControlDown;
  let awaySinceMs = 0;
  before(async () => {
    mesh = await startFaultMesh(dataPlane, files, [`--certificate-ttl=${ttlMs}ms`]);
    await settled(mesh, instances.length);
    await startKeptLoad(mesh);
    await eventually("the kept connection stands", () =>
      mesh.log("client-0.default.proxy.log").includes('"response_code":200'),
    );
    down = await takeControlDown(mesh);
    awaySinceMs = performance.now();
  });
  after(async () => {
    await down[Symbol.asyncDispose]();
    await mesh.stop();
  });

  /** Milliseconds until the first of these certificates expires, and until the last has. */
  const leftMs = async (names: readonly string[]): Promise<readonly [number, number]> => {
    const left = await Promise.all(names.map(async (name) => await certificateLeftMs(mesh, name)));
    return [Math.min(...left), Math.max(...left)];
  };
  const ask = async (url: string): Promise<string> =>
    (await mesh.workload("client-0").exec(`curl -s -i -m 5 ${url}`)).stdout;

  test("new connections stand until the certificates expire", async () => {
    await eventually(
      "a certificate is about to expire",
      async () => (await leftMs(["client-0", "late-0"]))[0] < 8000,
      ttlMs,
    );
    const answer = await ask("http://late/");
    const [first] = await leftMs(["client-0", "late-0"]);
    assert(first > 0, `too late by ${-first} ms`);
    assert.match(answer, /^HTTP\/1\.1 200 /);
    assert.match(answer, /"from":"late-0"/);
    const { stdout, code } = await heddle(mesh, "status");
    assert.equal(code, 1);
    assert.match(stdout, /^the control plane does not answer; proxies go on with what they have$/m);
    assert.match(
      stdout,
      /^late-0\.default +ready +configuration of \d+s ago(?:, accepted \d+s ago)? +expires in \d+s$/m,
    );
  });

  test("then new ones fail, and both ends say why; what stands, and plain text, go on", async () => {
    const isOver = async (): Promise<boolean> => (await leftMs(instances))[1] < -1000;
    await eventually("all certificates have expired", isOver, ttlMs);
    const answer = await ask("http://fresh/");
    assert.match(answer, /^HTTP\/1\.1 503 /);
    assert.equal(
      answer.split("\r\n\r\n")[1],
      "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: remote connection failure",
    );
    const entry = await eventually("the caller's access log", () => {
      const log = mesh.log("client-0.default.proxy.log");
      return log.split("\n").find((line) => line.includes('"authority":"fresh"'));
    });
    const said: Readonly<Record<string, unknown>> = JSON.parse(entry);
    assert.equal(said["response_code"], 503);
    assert.equal(said["response_flags"], "URX,UF");
    const reason = String(said["upstream_transport_failure_reason"]);
    assert.match(reason, refusals[dataPlane].caller);
    assert.equal(
      said["response_code_details"],
      `upstream_reset_before_response_started{remote_connection_failure|${reason}}`,
    );
    await eventually("the called one's log", () =>
      refusals[dataPlane].called.test(mesh.log("fresh-0.default.proxy.log")),
    );
    const plain = await ask(`http://${await addressOf(mesh, "fresh-0")}:8080/`);
    assert.match(plain, /^HTTP\/1\.1 200 /);
    assert.equal(await readiness(mesh, "fresh-0"), "ready 200");
    // The one that was connected in time still answers.
    assert.match(await ask("http://late/"), /^HTTP\/1\.1 200 /);
  });

  test("after ten minutes nothing else has broken, and status says since when", async () => {
    await eventually(
      "ten minutes are over",
      () => performance.now() - awaySinceMs > awayMs,
      awayMs + 1000,
    );
    const { stdout } = await heddle(mesh, "status");
    for (const instance of instances) {
      const row = `^${instance}\\.default +ready +configuration of 10m ago(?:, accepted 1\\dm ago)? +expired [789]m ago \\(${instant}\\)$`;
      assert.match(stdout, new RegExp(row, "m"));
    }
    assert.match(await ask("http://fresh/"), /^HTTP\/1\.1 503 /);

    process.kill(mesh.workload("fresh-0").sidecarPid, "SIGKILL");
    const said = await eventually("the restarted sidecar says why it cannot serve", async () => {
      const answer = await readiness(mesh, "fresh-0");
      return answer.endsWith(" 503") && answer.includes("certificate") && answer;
    });
    assert.match(
      said,
      new RegExp(
        `^the certificate expired at ${instant} and cannot be renewed: connecting to \\S+:15012: `,
      ),
    );
  });

  test("the authority is back: all is well by itself, and the kept connection never failed", async () => {
    down.bringBack();
    // After a long absence everybody asks again within half a minute.
    await settled(mesh, instances.length, 60_000);
    await eventually("new connections stand", async () =>
      (await ask("http://fresh/")).includes('"from":"fresh-0"'),
    );
    assert.equal(await readiness(mesh, "fresh-0"), "ready 200");
    await eventually(
      "every certificate is new",
      async () => (await leftMs(instances))[0] > ttlMs / 3,
      60_000,
    );
    const kept = await eventually("the kept load has ended", () => keptResult(mesh), 120_000);
    assert.deepEqual(kept.failures, []);
    assert.equal(kept.failed, 0);
    assert(kept.sent > (rate * awayMs * 0.9) / 1000, `only ${kept.sent} were sent`);
  });
}

/** Runs for longer than a script of `exec` may: in the background, its answer in a file. */
async function startKeptLoad(mesh: TestMesh): Promise<void> {
  const script = join(import.meta.dirname, "../e2e/support/load-client.mjs");
  const line = `${process.execPath} ${script} http://kept/ ${rate} 1 ${awayMs + 30_000}`;
  const { code, stderr } = await mesh
    .workload("client-0")
    .exec(`${line} >${keptFile(mesh)} 2>&1 </dev/null &`);
  assert.equal(code, 0, stderr);
}

function keptResult(mesh: TestMesh): LoadResult | undefined {
  const text = readFileSync(keptFile(mesh), "utf8");
  return text === "" ? undefined : JSON.parse(text);
}

function keptFile(mesh: TestMesh): string {
  return join(dirname(mesh.directory), "exec", "kept.json");
}

async function certificateLeftMs(mesh: TestMesh, instance: string): Promise<number> {
  const left = (await metricsOf(mesh, instance)).get(
    'cert_expiry_seconds{resource_name="default"}',
  );
  assert(left !== undefined, `${instance} has no certificate`);
  return left * 1000;
}

async function addressOf(mesh: TestMesh, instance: string): Promise<string> {
  const { stdout } = await mesh.workload(instance).exec("hostname -I");
  return stdout.split(/\s/)[0] ?? "";
}
