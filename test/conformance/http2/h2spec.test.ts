/**
 * h2spec (generic, RFC 9113, RFC 7541) against Heddle on either backend, on every kind of listener: nothing fails that
 * is not explained, nothing is left out.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { stripVTControlCharacters } from "node:util";

import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { type HopCertificates, hopBootstrap, hopCertificates } from "../grpc/hops.ts";
import {
  type Application,
  type Door,
  doors,
  type Plane,
  runHeddle,
  startApplication,
} from "./planes.ts";

/** What this version of h2spec asks. */
const questions = 146;
/** What a listener does otherwise, because it is told to. */
const explained: { readonly [name in Door | "mutual"]: readonly string[] } = {
  strict: [],
  mutual: [],
  // What is no preface of HTTP/2 is read as HTTP/1.1 there, and answered before the connection closes.
  auto: ["× 2: Sends invalid connection preface"],
  // Its heads may have 8 KiB.
  kind: ["× 1: Sends multiple CONTINUATION frames preceded by a HEADERS frame"],
};
const ios = ["portable", "epoll"] as const;
type Io = (typeof ios)[number];
const planes = new Map<Io, Plane & { readonly mutualPort: number }>();
const folder = mkdtempSync(join(tmpdir(), "heddle-h2spec-"));
const certificateFile = join(folder, "client.pem");
const keyFile = join(folder, "client.key");
let application: Application | undefined;

before(async () => {
  application = await startApplication();
  const certificates = await hopCertificates();
  writeFileSync(certificateFile, certificates.chainPem);
  writeFileSync(keyFile, certificates.privateKeyPem);
  for (const io of ios) planes.set(io, await start(io, application.port, certificates));
});

/** With a listener more, whose clients show certificates and agree on the protocol in TLS. */
async function start(io: Io, applicationPort: number, certificates: HopCertificates) {
  const plain = await runHeddle(io, applicationPort);
  const mutualPort = await freePort();
  const ports = { outer: 0, inner: mutualPort, server: applicationPort };
  const cluster = { typed_extension_protocol_options: {} };
  const config = hopBootstrap("inner", ports, certificates, { cluster });
  const mutual = await startProxyInProcess(config, io);
  const close = async (): Promise<void> => {
    await plain.close();
    await mutual.close();
  };
  return { ...plain, mutualPort, close };
}

after(async () => {
  for (const plane of planes.values()) await plane.close();
  application?.close();
  rmSync(folder, { recursive: true });
});

async function ask(door: Door | "mutual", ...args: readonly string[]): Promise<void> {
  const program = process.env["HEDDLE_H2SPEC"] ?? ".cache/h2spec/h2spec";
  const child = spawn(program, args);
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  const text = stripVTControlCharacters(output);
  const last = text.trimEnd().split("\n").at(-1);
  const failures = text.includes("Failures:") ? text.slice(text.indexOf("Failures:")) : "";
  const failed = failures.match(/× .*/g) ?? [];
  const wanted = explained[door];
  assert.deepEqual(failed, wanted, failures);
  const passed = questions - wanted.length;
  assert.equal(last, `${questions} tests, ${passed} passed, 0 skipped, ${wanted.length} failed`);
  assert.equal(code, wanted.length === 0 ? 0 : 1);
}

for (const io of ios) {
  for (const door of doors) {
    test(`h2spec finds nothing wrong (${door}, ${io})`, async () => {
      await ask(door, String(planes.get(io)?.ports[door]));
    });
  }

  test(`h2spec finds nothing wrong behind mutual TLS (${io})`, async () => {
    await ask("mutual", String(planes.get(io)?.mutualPort), "tls", certificateFile, keyFile);
  });
}
