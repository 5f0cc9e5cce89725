/**
 * What keeps a mesh running: restarts with back-off, changes of the mesh file followed one workload
 * at a time, one mesh per state directory, and a clear sentence when it cannot start.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { WorkloadsMessage } from "../../src/control/options.ts";
import { eventually, meshModes, startMesh, type MeshMode, type TestMesh } from "./support/mesh.ts";

const server = `
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
  destinations: [{ service: ledger, port: 9000 }]
`;
const client = "- { name: client, command: [{exec}], dependsOn: [server] }\n";
const head = "mesh: supervised\nconsole: { port: 0 }\nworkloads:";

for (const mode of meshModes) {
  describe(`supervision, ${mode}`, () => {
    test("an application that ends is started again and counted", async () => {
      await using mesh = await start(mode);
      await mesh.workload("server-0").exec("kill -9 $PPID");
      const instance = await eventually("server-0 is ready again", async () => {
        const found = (await told(mesh)).snapshot.instances.find((one) => one.name === "server-0");
        return found !== undefined && found.restarts > 0 && found.state === "ready" && found;
      });
      assert.equal(instance.detail, undefined);
      assert.match(mesh.log("server-0.default.log"), /ended .*; starting again in 200 ms/);
    });

    test("the control plane is started again and told everything", async () => {
      await using mesh = await start(mode);
      const first = await told(mesh);
      const pid = mesh.processes().find((one) => commandOf(one).includes("control"));
      assert(pid !== undefined);
      process.kill(pid, "SIGKILL");
      await eventually("another control plane answers", async () => {
        const again = mesh.processes().find((one) => commandOf(one).includes("control"));
        return again !== undefined && again !== pid;
      });
      const second = await eventually("it knows the workloads", async () => {
        const message = await told(mesh).catch(() => undefined);
        return message?.snapshot;
      });
      assert.deepEqual(
        second.instances.map((one) => one.name),
        first.snapshot.instances.map((one) => one.name),
      );
    });

    test("a changed file adds, removes and restarts only what it must", async () => {
      await using mesh = await start(mode);
      const before = mesh.workload("server-0").sidecarPid;
      const more = "- { name: extra, command: [{exec}], environment: { ONE: two } }\n";
      mesh.write("heddle.yaml", `${head}${server}${more}`);
      const names = await eventually("extra-0 runs, client-0 is gone", async () => {
        const { instances } = (await told(mesh)).snapshot;
        const isDone = instances.some((one) => one.name === "extra-0" && one.state === "ready");
        const isGone = !instances.some((one) => one.name === "client-0");
        return isDone && isGone && instances.map((one) => one.name);
      });
      assert.deepEqual(names.toSorted(), ["extra-0", "server-0"]);
      assert.equal(mesh.workload("server-0").sidecarPid, before);
      const { stdout } = await mesh.workload("extra-0").exec("echo $ONE");
      assert.equal(stdout, "two\n");
    });

    test("a broken file is reported with its place while the last good one keeps running", async () => {
      await using mesh = await start(mode);
      mesh.write("heddle.yaml", `${head}\n- name: [\n`);
      const { problems, snapshot } = await eventually("the problem is told", async () => {
        const message = await told(mesh);
        return message.problems.length > 0 && message;
      });
      assert.equal(problems[0]?.source?.file, join(mesh.directory, "heddle.yaml"));
      assert(snapshot.instances.every((one) => one.state === "ready"));
    });

    test("a second mesh of the same state refuses with a sentence", async () => {
      await using mesh = await start(mode);
      const { code, stderr } = await up(mesh.directory, mesh.stateDir);
      assert.notEqual(code, 0);
      assert.match(stderr, /this mesh already runs, as process \d+ from/);
    });

    test("tokens and options are private, the control plane knows only a token's hash", async () => {
      await using mesh = await start(mode);
      const folder = join(mesh.stateDir, "i", "server-0.default");
      assert.equal(statSync(mesh.stateDir).mode & 0o777, 0o700);
      assert.equal(statSync(folder).mode & 0o777, 0o700);
      for (const name of ["token", "options.json"]) {
        assert.equal(statSync(join(folder, name)).mode & 0o777, 0o600, name);
      }
      const token = readFileSync(join(folder, "token"), "utf8");
      assert(Buffer.from(token, "base64url").length === 32);
      assert(!JSON.stringify(await told(mesh)).includes(token));
    });

    test("the application is told its port, and in explicit mode its proxy", async () => {
      await using mesh = await start(mode);
      const { stdout } = await mesh
        .workload("server-0")
        .exec('echo "$PORT|$http_proxy|$HTTP_PROXY|$NODE_USE_ENV_PROXY|$LEDGER_ADDR"');
      if (mode === "explicit") {
        assert.match(
          stdout,
          /^\d+\|http:\/\/127\.0\.0\.1:\d+\|http:\/\/127\.0\.0\.1:\d+\|1\|127\.0\.0\.1:\d+\n$/,
        );
      } else {
        assert.equal(stdout, "8080||||\n");
      }
    });
  });
}

test("up refuses a port in use with one sentence", async (t) => {
  const holder = createServer();
  await new Promise<void>((resolve) => {
    holder.listen(0, "127.0.0.1", resolve);
  });
  t.after(() => holder.close());
  const address = holder.address();
  assert(address !== null && typeof address === "object");
  const text = `console: { port: ${address.port} }\nworkloads: []\n`;
  await assert.rejects(
    startMesh({ mode: "explicit", processes: "stand-in", files: { "heddle.yaml": text } }),
    new RegExp(`port ${address.port} for the console is in use by another program`),
  );
});

async function start(mode: MeshMode): Promise<TestMesh> {
  const files = { "heddle.yaml": `${head}${server}${client}` };
  return await startMesh({ mode, processes: "stand-in", files });
}

/** What the stand-in control plane was told last. */
async function told(mesh: TestMesh): Promise<WorkloadsMessage> {
  const answer = await fetch(mesh.consoleUrl);
  const message: WorkloadsMessage = JSON.parse(await answer.text());
  return message;
}

function commandOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
  } catch {
    return []; // it has just ended
  }
}

async function up(directory: string, stateDir: string): Promise<{ code: number; stderr: string }> {
  const entry = join(import.meta.dirname, "support", "stand-in.ts");
  const words = [entry, "up", directory, `--state-dir=${stateDir}`];
  return await new Promise((resolve) => {
    const child = execFile(process.execPath, words, (_, __, stderr) => {
      resolve({ code: child.exitCode ?? 0, stderr });
    });
  });
}
