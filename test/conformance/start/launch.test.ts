/**
 * How everything begins: `./heddle`, `npm start` and `npm test` find the project's own Node, whatever
 * Node the system has, and name what is missing with the command or package that brings it.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";

const root = dirname(dirname(dirname(import.meta.dirname)));
const noLibrary = `echo "$0: error while loading shared libraries: libatomic.so.1: cannot open shared object file: No such file or directory" >&2; exit 127`;

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(
  program: string,
  words: readonly string[],
  environment: Readonly<Record<string, string>>,
  cwd = root,
): Promise<Outcome> {
  return await new Promise((resolve) => {
    execFile(program, words, { env: environment, cwd, timeout: 30_000 }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

/** A clone that holds the launcher alone, and what stands for programs of the system. */
class Clone implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), "heddle-launch-"));
  readonly #programs: string = join(this.folder, "programs");

  constructor() {
    mkdirSync(join(this.folder, "tools"));
    mkdirSync(this.#programs);
    copyFileSync(join(root, "tools/launch.sh"), join(this.folder, "tools/launch.sh"));
  }

  has(path: string, script: string): void {
    mkdirSync(dirname(join(this.folder, path)), { recursive: true });
    writeFileSync(join(this.folder, path), `#!/bin/sh\n${script}\n`);
    chmodSync(join(this.folder, path), 0o755);
  }

  async launch(environment: Readonly<Record<string, string>> = {}): Promise<Outcome> {
    const path = `${this.#programs}:/usr/bin:/bin`;
    const words = [join(this.folder, "tools/launch.sh"), "a.ts", "b c"];
    return await run("sh", words, { PATH: path, ...environment });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

test("without node_modules it says 'npm ci', and where", async () => {
  using clone = new Clone();
  const { code, stderr } = await clone.launch();
  assert.equal(code, 2);
  assert.match(stderr, /^heddle: \S+ has no Node of its own; run 'npm ci' in \S+ first\n$/);
  assert(stderr.includes(`'npm ci' in ${clone.folder} first`));
});

test("the project's Node runs, not the system's, and is the first of programs it starts", async () => {
  using clone = new Clone();
  clone.has("programs/node", "echo the system's");
  clone.has("node_modules/.bin/node", `echo "the project's: $*"; command -v node`);
  const { code, stdout } = await clone.launch();
  assert.equal(code, 0);
  assert.equal(
    stdout,
    `the project's: --disable-warning=ExperimentalWarning a.ts b c\n${clone.folder}/node_modules/.bin/node\n`,
  );
});

test("a proxy has a small nursery, which new configuration does not stop for long", async () => {
  using clone = new Clone();
  clone.has("node_modules/.bin/node", `echo "$*"`);
  copyFileSync(join(root, "heddle"), join(clone.folder, "heddle"));
  const main = join(clone.folder, "src/cli/main.ts");
  for (const [words, expected] of [
    [["proxy", "--config", "a b"], `--max-semi-space-size=1 ${main} proxy --config a b`],
    [["up", "proxy"], `${main} up proxy`],
    [[], main],
  ] as const) {
    const { stdout } = await run("sh", [join(clone.folder, "heddle"), ...words], {
      PATH: "/usr/bin:/bin",
    });
    const flags = "--disable-warning=ExperimentalWarning";
    assert.equal(
      stdout.split("\n").find((line) => line.includes("main.ts")),
      `${flags} ${expected}`,
    );
  }
});

test("a missing libatomic is named with its packages", async () => {
  using clone = new Clone();
  clone.has("node_modules/.bin/node", noLibrary);
  clone.has("programs/apt-get", `echo "$@" >>"${clone.folder}/installed"`);
  for (const [user, environment] of [
    ["1000", { HEDDLE_INSTALL: "1" }],
    ["0", {}],
  ] as const) {
    clone.has("programs/id", `echo ${user}`);
    const { code, stderr } = await clone.launch(environment);
    assert.equal(code, 2);
    assert.match(stderr, /^heddle: the project's Node needs .*libatomic\.so\.1; install .*\n$/);
    assert.match(stderr, /apt-get install libatomic1; Fedora: dnf install libatomic\)/);
  }
  assert(!existsSync(join(clone.folder, "installed")), "only 'npm test' as root installs");
});

test("for 'npm test' as root on Debian it is installed, and the run goes on", async () => {
  using clone = new Clone();
  const installed = join(clone.folder, "installed");
  clone.has("node_modules/.bin/node", `[ -e "${installed}" ] && echo runs && exit; ${noLibrary}`);
  clone.has("programs/id", "echo 0");
  clone.has("programs/apt-get", `echo "$@" >>"${installed}"`);
  const { code, stdout, stderr } = await clone.launch({ HEDDLE_INSTALL: "1" });
  assert.equal(code, 0, stderr);
  assert.equal(stdout, "runs\n");
  assert.match(stderr, /^heddle: installing libatomic1, which the project's Node needs\n$/);
  assert.equal(readFileSync(installed, "utf8"), "update -qq\ninstall -y -qq libatomic1\n");
});

test("a Node that does not start for another reason says it", async () => {
  using clone = new Clone();
  clone.has("node_modules/.bin/node", "echo 'cannot execute binary file' >&2; exit 126");
  const { code, stderr } = await clone.launch();
  assert.equal(code, 2);
  assert.match(stderr, /does not start on this machine: cannot execute binary file\n$/);
});

test("./heddle works from any folder, through links, and without a Node of the system's", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-launch-"));
  try {
    symlinkSync(join(root, "heddle"), join(folder, "first"));
    symlinkSync("first", join(folder, "heddle"));
    for (const program of [join(root, "heddle"), join(folder, "heddle"), "./heddle"]) {
      const { code, stdout } = await run(program, ["version"], { PATH: "/usr/bin:/bin" }, folder);
      assert.equal(code, 0, program);
      assert.match(stdout, /^heddle \d\S* \(Node 26\.\d+\.\d+\)\n$/);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("checks and tests refuse a Node that is not the project's", async () => {
  const other =
    "data:text/javascript,Object.defineProperty(process,'versions',{value:{...process.versions,node:'20.1.0'}})";
  // A phase that there is none of: should it start after all, it ends at once.
  for (const script of [["tools/test.ts", "none"], ["tools/check.ts"]]) {
    const words = ["--disable-warning=ExperimentalWarning", "--import", other, ...script];
    const { code, stdout, stderr } = await run(process.execPath, words, { PATH: "/usr/bin:/bin" });
    assert.equal(code, 2, stdout);
    assert.match(stderr, /^heddle: this is Node 20\.1\.0, the project runs on 26\.\d+\.\d+; use/);
  }
});
