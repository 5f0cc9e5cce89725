/**
 * What keeps a mesh from starting is one clear sentence; what only keeps it from namespaces makes it
 * fall back to explicit mode, which works, and says what it cannot enforce.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { describe, test } from "node:test";

import { dataPlanes, heddle, settled } from "./support/faults.ts";
import {
  capturingModes,
  type MeshSetup,
  meshModes,
  startMesh,
  type TestMesh,
} from "./support/mesh.ts";
import { enterNetworkOf, insidePid } from "./support/security-mesh.ts";
import { findEnvoy } from "../support/envoy.ts";

const files = {
  "heddle.yaml": `
mesh: start
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  command: [{exec}]
`,
};

const strict = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;

describe("what keeps a mesh from starting is one sentence", () => {
  for (const mode of meshModes) {
    test(`a gateway's port in use, ${mode}`, async (t) => {
      const holder = createServer();
      await new Promise<void>((resolve) => {
        holder.listen(0, "127.0.0.1", resolve);
      });
      t.after(() => holder.close());
      const address = holder.address();
      assert(address !== null && typeof address === "object");
      const text = `
console: { port: 0 }
gateways: [{ name: edge, ports: [{ port: 80, hostPort: ${address.port} }] }]
workloads: []
`;
      await refuses(
        { mode, processes: "heddle", files: { "heddle.yaml": text } },
        new RegExp(
          `^\\S+/heddle\\.yaml:3:56: port ${address.port} for gateway edge is in use by another program; stop it or choose another port$`,
        ),
      );
    });

    test(`a state directory on a full disk, ${mode}`, async () => {
      await using disk = smallDisk(mode);
      await refuses(
        { mode, processes: "heddle", files, wrapper: disk.wrapper, upArguments: disk.upArguments },
        /^the disk of the state directory \S+ is full: \d+ KB are free, 16384 KB are needed; free some space or choose another directory with --state-dir/,
      );
    });
  }

  test("a port that needs root", async () => {
    const text = "console: { port: 1 }\nworkloads: []\n";
    await refuses(
      { mode: "rootless", processes: "heddle", files: { "heddle.yaml": text } },
      /^\S+\/heddle\.yaml:1:18: port 1 for the console needs root; choose one above 1023$/,
    );
  });

  test("a state directory of somebody else's", async () => {
    const upArguments = ["--state-dir=/usr/heddle-state"];
    await refuses(
      { mode: "rootless", processes: "heddle", files, upArguments },
      "the state directory /usr/heddle-state may not be written by this user; change its owner or choose another directory with --state-dir",
    );
  });

  test("a state directory where nobody can make one", async () => {
    const upArguments = ["--state-dir=/proc/heddle/state"];
    await refuses(
      { mode: "explicit", processes: "heddle", files, upArguments },
      "the state directory /proc/heddle/state cannot be made there: its file system takes no folders; choose another directory with --state-dir",
    );
  });

  test("an Envoy that is not there, does not run or is none", async () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-no-envoy-"));
    try {
      const script = (name: string, text: string): string => {
        writeFileSync(join(folder, name), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
        return join(folder, name);
      };
      writeFileSync(join(folder, "text"), "", { mode: 0o644 });
      for (const [named, sentence] of [
        [
          join(folder, "none"),
          /^the envoy that HEDDLE_ENVOY names does not run: .*ENOENT; install Envoy/,
        ],
        [
          join(folder, "text"),
          /^the envoy that HEDDLE_ENVOY names does not run: .*EACCES; install/,
        ],
        [script("true", "exit 0"), /^\S+\/true, that HEDDLE_ENVOY names, is no Envoy: /],
      ] as const) {
        const environment = { HEDDLE_ENVOY: named };
        await refuses(
          { mode: "explicit", processes: "heddle", dataPlane: "envoy", files, environment },
          sentence,
        );
      }
      const old = `echo "envoy  version: 01234567890abcdef01234567890abcdef012345/1.33.2/Clean/RELEASE/BoringSSL"; exit 0`;
      const mesh = await startMesh({
        mode: "explicit",
        processes: "heddle",
        dataPlane: "envoy",
        files: { "heddle.yaml": "console: { port: 0 }\nworkloads: []\n" },
        environment: { HEDDLE_ENVOY: script("old", old) },
      });
      assert.match(
        mesh.output(),
        /"this is Envoy 1\.33; Heddle is tested with 1\.40, and others may/,
      );
      await mesh.stop();
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test("a file where the state directory should be", async () => {
    const upArguments = [`--state-dir=${import.meta.filename}/state`];
    await refuses(
      { mode: "explicit", processes: "heddle", files, upArguments },
      /cannot be made: a file is in its way/,
    );
  });
});

for (const dataPlane of dataPlanes) {
  describe(`without what namespaces need, ${dataPlane}`, () => {
    test("no ip and no nft: explicit mode, with the packages that would help", async () => {
      await using machine = poorMachine(["ip", "nft", "iptables-restore"]);
      await using mesh = await startMesh(fallbackSetup(dataPlane, machine.path));
      assert.match(
        mesh.output(),
        /"explicit mode, without network namespaces: ip, nft missing; install iproute2, nftables"/,
      );
      await works(mesh);
    });

    test("unshare refused: explicit mode, with what would help", async () => {
      await using machine = poorMachine(["unshare"]);
      machine.add("unshare", "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1");
      await using mesh = await startMesh(fallbackSetup(dataPlane, machine.path));
      assert.match(
        mesh.output(),
        /"explicit mode, without network namespaces: namespaces without root are forbidden here \(unshare: unshare failed: Operation not permitted\); run as root"/,
      );
      await works(mesh);
    });
  });
}

for (const mode of capturingModes) {
  test(`no nft, but iptables: network namespaces all the same, ${mode}`, async () => {
    await using machine = poorMachine(["nft"]);
    await using mesh = await startMesh({
      mode,
      processes: "heddle",
      files: { ...files, "strict.yaml": strict },
      environment: { PATH: machine.path },
    });
    await settled(mesh, 2);
    const client = async (script: string) => await mesh.workload("client-0").exec(script);
    const address = /\d+\.\d+\.\d+\.\d+/.exec(
      (await mesh.workload("server-0").exec("hostname -I")).stdout,
    )?.[0];
    assert(address !== undefined);
    // STRICT takes only what both sidecars have carried.
    for (const to of ["-4 http://server/", "-6 http://server/"]) {
      const { stdout } = await client(`curl -s -m 5 ${to}`);
      assert.match(stdout, /"from":"server-0"/, to);
    }
    const words = [...enterNetworkOf(insidePid(mesh)), "curl", "-s", "-m", "3"];
    const plain = (): unknown =>
      execFileSync(words[0] ?? "", [...words.slice(1), `http://${address}:8080/`]);
    // curl's words for a connection that was ended without an answer.
    assert.throws(plain, (thrown: { status?: number }) => [52, 56].includes(thrown.status ?? 0));
    const own = await mesh.workload("server-0").exec(`curl -s -m 5 http://127.0.0.1:8080/`);
    assert.match(own.stdout, /"from":"server-0"/);
    const flushed = await client("PATH=$PATH:/usr/sbin:/sbin iptables -t nat -F");
    assert.notEqual(flushed.code, 0);
  });
}

async function refuses(setup: MeshSetup, sentence: string | RegExp): Promise<void> {
  const failure: unknown = await startMesh(setup).then(
    async (mesh) => await mesh.stop(),
    (thrown: unknown) => thrown,
  );
  assert(failure instanceof Error, "it has started");
  const lines = failure.message.split("\n").filter((line) => line !== "");
  const said = lines.slice(1).filter((line) => !line.startsWith("{"));
  assert.equal(said.length, 1, failure.message);
  const [first = ""] = said;
  assert(first.startsWith("heddle: "), first);
  const words = first.slice("heddle: ".length).replace(/ \([a-z.-]+\)$/, "");
  if (typeof sentence === "string") assert.equal(words, sentence);
  else assert.match(words, sentence);
}

function fallbackSetup(dataPlane: "heddle" | "envoy", path: string): MeshSetup {
  const environment = { PATH: path, HEDDLE_ENVOY: findEnvoy() ?? "" };
  const upArguments = ["--mode=auto"];
  return { mode: "rootless", processes: "heddle", dataPlane, files, environment, upArguments };
}

async function works(mesh: TestMesh): Promise<void> {
  await settled(mesh, 2);
  const { stdout } = await mesh.workload("client-0").exec("curl -s -m 5 http://server/");
  assert.match(stdout, /"from":"server-0"/);
  const status = await heddle(mesh, "status");
  assert.match(status.stdout, /a local process can reach an application around its sidecar/);
  assert.match(status.stdout, /an application that ignores its proxy settings is not in the mesh/);
  assert.match(status.stdout, /OUTBOUND +INBOUND/);
}

interface PoorMachine extends AsyncDisposable {
  readonly path: string;
  add(program: string, script: string): void;
}

/** A PATH with everything the present one has, except some programs. */
function poorMachine(without: readonly string[]): PoorMachine {
  const path = mkdtempSync(join(tmpdir(), "heddle-path-"));
  chmodSync(path, 0o755);
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  const found = folders.flatMap((folder) => {
    const listed = execFileSync("sh", ["-c", 'ls -1 "$1" 2>/dev/null || true', "sh", folder]);
    const names = listed.toString().split("\n").filter(Boolean);
    return names.map((name): [string, string] => [name, join(folder, name)]);
  });
  for (const [name, target] of new Map(found.toReversed())) {
    if (!without.includes(name)) symlinkSync(target, join(path, name));
  }
  return {
    path,
    add: (program, script) => {
      writeFileSync(join(path, program), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    },
    [Symbol.asyncDispose]: async () => rmSync(path, { recursive: true, force: true }),
  };
}

interface SmallDisk extends AsyncDisposable {
  readonly wrapper: readonly string[];
  readonly upArguments: readonly string[];
}

/** A file system of 64 KB, in a mount namespace of the mesh's own. */
function smallDisk(mode: string): SmallDisk {
  const folder = mkdtempSync(join(tmpdir(), "heddle-disk-"));
  chmodSync(folder, 0o777);
  const isRoot = process.getuid?.() === 0 && mode !== "rootless";
  const flags = isRoot ? ["--mount"] : ["--user", "--map-current-user", "--keep-caps", "--mount"];
  const script = `mount -t tmpfs -o size=64k,mode=0777 small ${folder} && exec "$@"`;
  return {
    wrapper: ["unshare", ...flags, "--", "sh", "-c", script, "small-disk"],
    upArguments: [`--state-dir=${folder}/state`],
    [Symbol.asyncDispose]: async () => rmSync(folder, { recursive: true, force: true }),
  };
}
