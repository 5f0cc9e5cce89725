import assert from "node:assert/strict";
import fs, {
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { FakeSecrets } from "../../../test/support/secrets.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { FileSecrets } from "./file-secrets.ts";

const folder = mkdtempSync(join(tmpdir(), "heddle-file-secrets-"));
after(() => rmSync(folder, { recursive: true, force: true }));
const pem = (text: string): string =>
  `-----BEGIN CERTIFICATE-----\n${text}\n-----END CERTIFICATE-----\n`;

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function open() {
  const clock = new FakeClock();
  const others = new FakeSecrets();
  const metrics = createMetricRegistry();
  const told: string[] = [];
  const warn = (message: string, fields: object = {}): void =>
    void told.push(`${message} ${JSON.stringify(fields)}`);
  const log = { ...silentLog, warn };
  const secrets = new FileSecrets({ clock, log, metrics, others });
  return { clock, others, told, metrics, secrets };
}

test("FileSecrets reads what a name says, and leaves other names to others", () => {
  const { others, secrets } = open();
  const [chain, key, roots] = ["chain", "key", "roots"].map((name) => write(name, pem(name)));
  assert.deepEqual(secrets.get(`file-cert:${chain}~${key}`), {
    kind: "certificate",
    chainPem: pem("chain"),
    privateKeyPem: pem("key"),
  });
  assert.deepEqual(secrets.get(`file-root:${roots}`), {
    kind: "validation",
    trustedCaPem: pem("roots"),
  });
  others.set("default", { kind: "validation", trustedCaPem: "x" });
  assert.equal(secrets.get("default")?.kind, "validation");
  for (const name of ["file-root:roots", "file-cert:/a", "file-cert:/a~/b~/c", "ROOTCA"]) {
    assert.equal(secrets.get(name), undefined, name);
  }
  secrets.close();
});

test("FileSecrets tells of what has changed, and keeps what cannot be read any more", () => {
  const { clock, others, secrets } = open();
  const path = write("changing", pem("one"));
  const name = `file-root:${path}`;
  const changed: string[] = [];
  const stop = secrets.onChange((one) => changed.push(one));
  assert.ok(secrets.get(name) !== undefined);
  clock.advance(10_000);
  assert.deepEqual(changed, []);
  write("changing", pem("two"));
  clock.advance(10_000);
  assert.deepEqual(changed, [name]);
  assert.deepEqual(secrets.get(name), { kind: "validation", trustedCaPem: pem("two") });
  write("changing", "being written");
  clock.advance(10_000);
  rmSync(path);
  clock.advance(10_000);
  assert.deepEqual(secrets.get(name), { kind: "validation", trustedCaPem: pem("two") });
  assert.deepEqual(changed, [name]);
  others.set("default", { kind: "validation", trustedCaPem: "x" });
  assert.deepEqual(changed, [name, "default"]);
  stop();
  others.remove("default");
  assert.equal(changed.length, 2);
  secrets.close();
});

test("FileSecrets finds a file that comes later", () => {
  const { clock, secrets } = open();
  const name = `file-root:${join(folder, "later")}`;
  const changed: string[] = [];
  secrets.onChange((one) => changed.push(one));
  assert.equal(secrets.get(name), undefined);
  write("later", pem("late"));
  clock.advance(10_000);
  assert.deepEqual(changed, [name]);
  secrets.close();
});

test("FileSecrets reads files alone, of a size, and so many", () => {
  const { secrets } = open();
  symlinkSync("/dev/zero", join(folder, "endless"));
  write("large", pem("x".repeat(1024 * 1024)));
  for (const name of ["endless", "large", "missing", "."]) {
    assert.equal(secrets.get(`file-root:${join(folder, name)}`), undefined, name);
  }
  const path = write("one", pem("one"));
  for (let i = 0; i < 300; i++) secrets.get(`file-root:${path}${"/.".repeat(i)}`);
  assert.equal(secrets.get(`file-root:${path}`)?.kind, "validation");
  const last = write("last", pem("last"));
  assert.equal(secrets.get(`file-root:${last}`), undefined);
  secrets.close();
});

test("FileSecrets takes certificates alone of what is shown to others, and none that is cut off", () => {
  const { secrets } = open();
  const key = "-----BEGIN PRIVATE KEY-----\nkey\n-----END PRIVATE KEY-----\n";
  const both = write("both", `${key}${pem("one")}bag attributes\n${pem("two")}`);
  const certificates = pem("one") + pem("two");
  const roots = secrets.get(`file-root:${both}`);
  assert.deepEqual(roots, { kind: "validation", trustedCaPem: certificates });
  const pair = secrets.get(`file-cert:${both}~${both}`);
  assert(pair?.kind === "certificate");
  assert.equal(pair.chainPem, certificates);
  assert.match(pair.privateKeyPem, /PRIVATE KEY/);
  for (const [name, text] of [
    ["key", key],
    ["identity.json", JSON.stringify({ chainPem: pem("one"), privateKeyPem: key })],
    ["cut", pem("one") + pem("two").slice(0, -3)],
  ] as const) {
    assert.equal(secrets.get(`file-root:${write(name, text)}`), undefined, name);
    assert.equal(secrets.get(`file-cert:${write(name, text)}~${both}`), undefined, name);
  }
  secrets.close();
});

test("FileSecrets tells once of what it cannot read, and of what it does not read", () => {
  const { clock, told, metrics, secrets } = open();
  const missing = `file-root:${join(folder, "never")}`;
  for (const name of [missing, "file-root:relative.pem", "file-cert:/a~b/c~/d"]) {
    assert.equal(secrets.get(name), undefined);
    assert.equal(secrets.get(name), undefined);
  }
  clock.advance(10_000);
  clock.advance(10_000);
  assert.equal(told.length, 3);
  assert.match(told[0] ?? "", /cannot be read .*never/);
  assert.match(told[1] ?? "", /is not read .*relative\.pem.*not absolute/);
  assert.match(metrics.expose(), /heddle_file_secrets_refused_total 2/);
  secrets.close();
});

test("FileSecrets forgets what nothing refers to any more, and has room for others again", () => {
  const { clock, metrics, secrets } = open();
  const files = Array.from(
    { length: 257 },
    (_, i) => `file-root:${write(`many-${i}`, pem(`number ${i}`))}`,
  );
  const changed: string[] = [];
  secrets.onChange((name) => changed.push(name));
  for (const name of files) secrets.get(name);
  const [first = "", second = ""] = files;
  const last = files.at(-1) ?? "";
  assert.equal(secrets.get(last), undefined);
  assert.match(metrics.expose(), /heddle_file_secrets_refused_total 1/);
  secrets.keepOnly(new Set([second, last, "default"]));
  assert.deepEqual(changed, [last], "who waited for room is told");
  assert.equal(secrets.get(last)?.kind, "validation");
  for (const name of [first, second]) write(name.slice(name.lastIndexOf("/") + 1), pem("changed"));
  clock.advance(10_000);
  assert.deepEqual(changed, [last, second]);
  secrets.close();
});

test("FileSecrets reads a name that was asked for before it was known to be wanted", () => {
  const { clock, secrets } = open();
  const name = `file-root:${write("early", pem("early"))}`;
  assert.equal(secrets.get(name)?.kind, "validation");
  secrets.keepOnly(new Set());
  secrets.keepOnly(new Set([name]));
  const changed: string[] = [];
  secrets.onChange((one) => changed.push(one));
  write("early", pem("later"));
  clock.advance(10_000);
  assert.deepEqual(changed, [name]);
  secrets.close();
});

test("FileSecrets reads a file again where it was written alone, also behind a link that moves", (t) => {
  const { clock, secrets } = open();
  const opened = t.mock.method(fs, "openSync");
  syncBuiltinESMExports();
  t.after(() => {
    opened.mock.restore();
    syncBuiltinESMExports();
  });
  for (const folderName of ["v1", "v2"]) {
    mkdirSync(join(folder, folderName));
    write(`${folderName}/roots.pem`, pem(folderName));
  }
  const link = join(folder, "current");
  symlinkSync(join(folder, "v1"), link);
  const name = `file-root:${link}/roots.pem`;
  const changed: string[] = [];
  secrets.onChange((one) => changed.push(one));
  assert.deepEqual(secrets.get(name), { kind: "validation", trustedCaPem: pem("v1") });
  const before = opened.mock.callCount();
  for (let looks = 0; looks < 5; looks++) clock.advance(10_000);
  assert.equal(opened.mock.callCount(), before);
  // As a projected volume changes: one rename for all of its files.
  symlinkSync(join(folder, "v2"), join(folder, "next"));
  renameSync(join(folder, "next"), link);
  clock.advance(10_000);
  assert.deepEqual(secrets.get(name), { kind: "validation", trustedCaPem: pem("v2") });
  assert.deepEqual(changed, [name]);
  secrets.close();
});

test("FileSecrets reads lists of what was taken back, and nothing else of their files", () => {
  const { secrets } = open();
  const list = (text: string): string =>
    `-----BEGIN X509 CRL-----\n${text}\n-----END X509 CRL-----\n`;
  const path = write("lists", `${pem("beside")}${list("one")}between\n${list("two")}`);
  assert.deepEqual(secrets.get(`file-crl:${path}`), {
    kind: "revocations",
    crlPem: list("one") + list("two"),
  });
  for (const [name, text] of [
    ["no-list", pem("one")],
    ["cut-list", list("one") + list("two").slice(0, -3)],
  ] as const) {
    assert.equal(secrets.get(`file-crl:${write(name, text)}`), undefined, name);
  }
  assert.equal(secrets.get("file-crl:relative"), undefined);
  secrets.close();
});

test("FileSecrets tries again with each look what could not be read, whatever the reason", (t) => {
  const { clock, secrets } = open();
  const circle = join(folder, "circle");
  symlinkSync(circle, circle);
  const names = {
    circle: `file-root:${circle}`,
    long: `file-root:/${"n".repeat(300)}`,
    broken: "file-root:/a\0b",
    busy: `file-root:${write("busy", pem("busy"))}`,
  };
  // As where no descriptor is left.
  const refused = t.mock.method(fs, "openSync", () => {
    throw new Error("EMFILE");
  });
  syncBuiltinESMExports();
  for (const [what, name] of Object.entries(names))
    assert.equal(secrets.get(name), undefined, what);
  clock.advance(10_000);
  refused.mock.restore();
  syncBuiltinESMExports();
  rmSync(circle);
  write("circle", pem("circle"));
  clock.advance(10_000);
  for (const what of ["circle", "busy"] as const) {
    const expected = { kind: "validation", trustedCaPem: pem(what) };
    assert.deepEqual(secrets.get(names[what]), expected, what);
  }
  // One that could be read, and goes in a circle now, keeps what it held.
  rmSync(circle);
  symlinkSync(circle, circle);
  clock.advance(10_000);
  assert.equal(secrets.get(names.circle)?.kind, "validation");
  secrets.close();
});
