/**
 * What servers of gRPC have beside their own services, asked by gRPC's Go client through two proxies: health
 * as it is and as it changes, reflection; and messages that proxies and both ends count alike. Heddle on either
 * backend, and Envoy with the same files.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { type Hop, hopBootstrap, hopCertificates } from "./hops.ts";
import { type PlaneName, planeNames, untilOpen } from "./planes.ts";

const program = `${process.env["HEDDLE_INTEROP"] ?? ".cache/interop"}/services`;
const extensions = "type.googleapis.com/envoy.extensions";
const format = "%REQ(:PATH)% %GRPC_STATUS% %FILTER_STATE(envoy.filters.http.grpc_stats:PLAIN)%\n";

interface Plane {
  readonly port: number;
  readonly readLog: (hop: Hop) => readonly string[];
  readonly close: () => Promise<void>;
}

const planes = new Map<PlaneName, Plane>();
let server: ChildProcess | undefined;
let serverSays = "";

function manager(logFile: string): object {
  const filter = (name: string, type: string, config: object = {}): object => ({
    name: `envoy.filters.http.${name}`,
    typed_config: { "@type": `${extensions}.filters.http.${type}`, ...config },
  });
  return {
    access_log: [
      {
        name: "file",
        typed_config: {
          "@type": `${extensions}.access_loggers.file.v3.FileAccessLog`,
          path: logFile,
          log_format: { text_format_source: { inline_string: format } },
        },
      },
    ],
    http_filters: [
      filter("grpc_stats", "grpc_stats.v3.FilterConfig", { emit_filter_state: true }),
      filter("router", "router.v3.Router"),
    ],
  };
}

async function start(name: PlaneName, serverPort: number): Promise<Plane> {
  const certificates = await hopCertificates();
  const ports = { outer: await freePort(), inner: await freePort(), server: serverPort };
  const folder = mkdtempSync(join(tmpdir(), "heddle-services-"));
  const texts = { outer: "", inner: "" };
  const closes: (() => Promise<void>)[] = [];
  for (const hop of ["inner", "outer"] satisfies Hop[]) {
    const more = { manager: manager(join(folder, hop)) };
    const config = hopBootstrap(hop, ports, certificates, more);
    if (name === "envoy") {
      const binary = findEnvoy() ?? assert.fail("no Envoy at hand");
      const envoy = startEnvoy(binary, config, ["--file-flush-interval-msec", "10"]);
      closes.push(() => envoy.stop());
    } else {
      const proxy = await startProxyInProcess(config, name, (text) => (texts[hop] += text));
      closes.push(proxy.close);
    }
    await untilOpen(ports[hop]);
  }
  return {
    port: ports.outer,
    readLog: (hop) => {
      const text = name === "envoy" ? readFileSync(join(folder, hop), "utf8") : texts[hop];
      return text.split("\n").filter((line) => line !== "");
    },
    close: async () => {
      for (const close of closes) await close();
      rmSync(folder, { recursive: true });
    },
  };
}

before(async () => {
  const serverPort = await freePort();
  server = spawn(program, ["serve", String(serverPort)]);
  server.stdout?.on("data", (text: Buffer) => (serverSays += text.toString()));
  await untilOpen(serverPort);
  for (const name of planeNames) planes.set(name, await start(name, serverPort));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  server?.kill("SIGKILL");
});

/** What the client prints. */
async function run(...args: readonly string[]): Promise<string> {
  const child = spawn(program, args, { timeout: 60_000 });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => (output += chunk.toString()));
  }
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  assert.equal(code, 0, output);
  return output;
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!isSo()) {
    assert.ok(performance.now() < deadline, what);
    await sleep(5);
  }
}

const addressOf = (name: PlaneName): string =>
  `127.0.0.1:${(planes.get(name) ?? assert.fail()).port}`;

for (const name of planeNames) {
  test(`health and reflection pass two proxies (${name})`, async () => {
    assert.equal(
      await run("ask", addressOf(name)),
      [
        "health of '': SERVING, OK",
        "health of 'grpc.testing.TestService': SERVING, OK",
        "health of 'nobody': UNKNOWN, NotFound",
        "reflection: [grpc.health.v1.Health grpc.reflection.v1.ServerReflection " +
          "grpc.reflection.v1alpha.ServerReflection grpc.testing.TestService], files 0, code 0",
        "reflection: [], files 3, code 0",
        "reflection: [], files 0, code 5",
        "",
      ].join("\n"),
    );
  });

  test(`a change of health is told while its stream is open (${name})`, async () => {
    const watcher = spawn(program, ["watch", addressOf(name)]);
    let seen = "";
    watcher.stdout.on("data", (text: Buffer) => (seen += text.toString()));
    await until("nothing was told", () => seen === "SERVING\n");
    server?.stdin?.write("off\n");
    await until("the change was not told", () => seen === "SERVING\nNOT_SERVING\n");
    server?.stdin?.write("on\n");
    await until("the second change was not told", () => seen.endsWith("NOT_SERVING\nSERVING\n"));
    watcher.kill("SIGKILL");
  });

  test(`messages are counted by both proxies as by both ends (${name})`, async () => {
    const counts = async (): Promise<readonly number[]> => {
      const before = serverSays.length;
      server?.stdin?.write("counts\n");
      await until("the server does not say", () => serverSays.slice(before).includes("\n"));
      const [, received, sent] = /in=(\d+) out=(\d+)/.exec(serverSays.slice(before)) ?? [];
      return [Number(received), Number(sent)];
    };
    const [receivedBefore = 0, sentBefore = 0] = await counts();
    const clientSays = await run("talk", addressOf(name), "137");
    const [received = 0, sent = 0] = await counts();
    assert.deepEqual([received - receivedBefore, sent - sentBefore], [137, 411]);
    assert.equal(clientSays, "out=137 in=411\n");
    const plane = planes.get(name) ?? assert.fail();
    for (const hop of ["outer", "inner"] satisfies Hop[]) {
      const mine = (): readonly string[] =>
        plane.readLog(hop).filter((line) => line.includes("FullDuplexCall"));
      await until("nothing is logged", () => mine().length > 0);
      assert.deepEqual(mine(), ["/grpc.testing.TestService/FullDuplexCall OK 137,411"]);
    }
  });
}
