/** Which mesh a command means when none, one or several run, and what it says when it cannot tell. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";

import { takeLease } from "../../src/local/lease.ts";

const program = join(dirname(dirname(import.meta.dirname)), "heddle");

/** A user with a state directory of their own; `heddle` runs in `directory`. */
class User implements Disposable {
  readonly home: string = mkdtempSync(join(tmpdir(), "heddle-user-"));
  readonly #leases: Disposable[] = [];

  /** Makes it look as if this process ran a mesh; not to be ended by a test. */
  runs(name: string): void {
    const directory = join(this.home, name);
    mkdirSync(directory, { recursive: true });
    this.#leases.push(takeLease(join(this.home, "heddle", name), directory));
  }

  async says(line: string, code: number, sentence: RegExp): Promise<void> {
    const { HEDDLE_STATE_DIR: _, HEDDLE_MESH: __, ...environment } = process.env;
    const env = { ...environment, XDG_STATE_HOME: this.home };
    const said = await new Promise<{ code: number | null; text: string }>((resolve) => {
      const child = execFile(
        program,
        line.split(" "),
        { cwd: this.home, env },
        (_error, out, err) => resolve({ code: child.exitCode, text: `${err}${out}` }),
      );
    });
    assert.match(said.text, sentence, line);
    assert.equal(said.code, code, `${line}: ${said.text}`);
  }

  [Symbol.dispose](): void {
    for (const lease of this.#leases) lease[Symbol.dispose]();
    rmSync(this.home, { recursive: true });
  }
}

test("no mesh, one that is not there, and several: the first sentence says so", async () => {
  using user = new User();
  await user.says(
    "status",
    3,
    /^heddle: no mesh is running here; start one with 'heddle up DIR'\n/,
  );
  await user.says("status --mesh nope", 3, /^heddle: mesh nope is not running; start it with/);
  await user.says("down nope", 3, /^heddle: there is no mesh or folder nope; start it with/);
  await user.says("up nope", 2, /^heddle: there is no \S+\/nope/);
  await user.says("up .", 2, /^heddle: \S+ holds no heddle\.yaml or compose\.yaml/);
  user.runs("one");
  await user.says("status", 1, /^the control plane does not answer; proxies go on with/);
  await user.says("get", 3, /^heddle: the control plane of mesh one is starting or has failed; /);
  await user.says("down nope", 3, /^heddle: there is no mesh or folder nope; running: one\n/);
  user.runs("two");
  for (const command of ["status", "get", "ps", "logs web"]) {
    const sentence = /^heddle: several meshes are running \(one, two\); name one with --mesh\n/;
    await user.says(command, 2, sentence);
  }
  await user.says("down", 2, /^heddle: several .* \(one, two\); name one: heddle down NAME\n/);
  await user.says("get --mesh three", 3, /^heddle: mesh three is not running; running: one, two\n/);
});

test("down ends the mesh of a folder whose file is broken or names another by now", async () => {
  using user = new User();
  for (const [text, which] of [
    ["workloads: [", ""],
    ["mesh: second\nworkloads: []\n", " --mesh first"],
  ] as const) {
    if (which !== "") user.runs("other");
    const folder = join(user.home, "mesh");
    mkdirSync(folder, { recursive: true });
    const file = join(folder, "heddle.yaml");
    writeFileSync(file, "mesh: first\nconsole: { port: 0 }\nworkloads: []\n");
    // What it says is worth trying means this mesh.
    const tries = ["get", "status", "proxy-status"].map((word) => ` +\\S+ ${word}${which}\n`);
    const ready = new RegExp(`everything is ready\n[^]*\ntry:\n${tries.join("")}`);
    await user.says("up mesh --detach --mode=explicit", 0, ready);
    writeFileSync(file, text);
    await user.says("down mesh", 0, /the mesh from \S+\/mesh has ended/);
    await user.says("down first", 0, /nothing to end/);
  }
});
