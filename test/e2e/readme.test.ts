/** The README's commands, as a newcomer types them: `npm start`, then each command of its `sh` block. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

const stateHome = mkdtempSync(join(tmpdir(), "heddle-readme-"));
const environment = { ...process.env, XDG_STATE_HOME: stateHome };
let mesh: ChildProcess;
let printed = "";

before(async () => {
  mesh = spawn("npm", ["start"], {
    env: environment,
    stdio: ["ignore", "pipe", "pipe"],
    detached: true, // A process group of its own, as a terminal's foreground job is.
  });
  mesh.stderr?.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  await new Promise<void>((resolve, reject) => {
    mesh.stdout?.on("data", (chunk: Buffer) => {
      printed += chunk.toString();
      if (/^try:\n(?: {2}.+\n){3}/m.test(printed)) resolve();
    });
    mesh.once("exit", (code) => reject(new Error(`npm start ended with ${code}: ${printed}`)));
  });
});

after(async () => {
  const ended = new Promise((resolve) => mesh.once("exit", resolve));
  process.kill(-(mesh.pid ?? 0), "SIGINT"); // Ctrl-C reaches the whole group.
  await ended;
  rmSync(stateHome, { recursive: true, force: true });
});

test("npm start prints steps with times, the console, the gateway and three commands, in order", () => {
  const text = printed.slice(printed.search(/^ +\d/m));
  assert.match(
    text,
    /^( +\d+\.\d\d s {2}.+\n)+\nconsole {2}http:\/\/\S+\ngateway {2}http:\/\/\S+\n\ntry:\n( {2}.+\n){3}/,
  );
});

test("npm start's three commands work", async () => {
  const commands = /^try:\n((?: {2}.+\n){3})/m.exec(printed)?.[1]?.trim().split(/\n\s*/) ?? [];
  assert.equal(commands.length, 3);
  for (const command of commands) await works(command);
});

test("every command of the README works on the running sample", async () => {
  const commands = [
    ...readFileSync("README.md", "utf8").matchAll(/^(\.\/heddle \S.*?)(?: +#.*)?$/gm),
  ]
    .map((match) => match[1] ?? "")
    .filter((command) => !command.startsWith("./heddle up"));
  assert.ok(commands.length >= 5, commands.join("\n"));
  for (const command of commands) await works(command);
});

test("what the sample's README tries works, but for the change of its files", async () => {
  const [, tries = ""] =
    /^Things to try [^]*?\n\n((?: {4}.*\n)+)/m.exec(
      readFileSync("samples/shop/README.md", "utf8"),
    ) ?? [];
  const commands = tries.split("\n").map((line) => line.replace(/ +#.*/, "").trim());
  const safe = commands.filter((command) => command !== "" && !command.startsWith("sed "));
  assert.equal(safe.length, 5, tries);
  for (const command of safe) await works(command);
  const [sed = ""] = commands.filter((command) => command.startsWith("sed "));
  const changed = sed.replace("sed -i", "sed"); // printed, not written
  await works(`${changed} | grep 'weight: 50 }'`);
});

test("the gateway answers with the shop's page", async () => {
  const url = /^gateway {2}(\S+)$/m.exec(printed)?.[1] ?? "";
  const answer = await fetch(url);
  assert.equal(answer.status, 200);
  assert.match(await answer.text(), /<title>The Heddle Shop<\/title>/);
});

async function works(command: string): Promise<void> {
  const { code, output } = await new Promise<{ code: number; output: string }>((resolve) => {
    execFile(
      "sh",
      ["-c", command],
      { env: environment, timeout: 120_000, maxBuffer: 1 << 26 },
      // One that did not end by itself has no code, and did not work.
      (error, stdout, stderr) =>
        resolve({
          code: error === null ? 0 : Number(error.code ?? -1),
          output: `${stdout}${stderr}`,
        }),
    );
  });
  assert.equal(code, 0, `${command}: ${output}`);
  assert.notEqual(output.trim(), "", command);
}
