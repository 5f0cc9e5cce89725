/**
 * What a workload cannot do, tried from inside one, in every mode that confines it: take the rules or
 * its sidecar apart, open what belongs to another, reach the control plane's private doors, be somebody
 * else at the certificate authority or on xDS. Explicit mode confines nobody, and says so in `status`.
 */
import assert from "node:assert/strict";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";

import { startMesh, type TestMesh } from "./support/mesh.ts";
import { capturedCases } from "./support/security-mesh.ts";

const meshFile = `
mesh: confined
console: { port: 0 }
workloads:
- name: victim
  serviceAccount: victim
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: intruder
  serviceAccount: intruder
  command: [{exec}]
  writable: [.scratch]
`;

function linkOf(descriptor: string): string[] {
  try {
    return [readlinkSync(`/proc/self/fd/${descriptor}`)];
  } catch {
    return []; // the one that listed them
  }
}

for (const { mode, dataPlane, title } of capturedCases) {
  describe(`a workload is confined: ${title}`, () => {
    let mesh: TestMesh;
    before(async () => {
      const files = { "heddle.yaml": meshFile, ".scratch/here": "" };
      mesh = await startMesh({ mode, dataPlane, processes: "heddle", files });
    });
    after(async () => {
      await mesh.stop();
    });

    const intruder = async (script: string) =>
      await mesh.workload("intruder-0").exec(`PATH=$PATH:/usr/sbin:/sbin; ${script}`);
    /** Every attempt must fail; a message names those that did not. */
    const mustFail = async (attempts: Readonly<Record<string, string>>): Promise<void> => {
      const succeeded: string[] = [];
      for (const [what, script] of Object.entries(attempts)) {
        const { code, stdout } = await intruder(script);
        if (code === 0) succeeded.push(`${what}: ${stdout.slice(0, 200)}`);
      }
      assert.deepEqual(succeeded, []);
    };

    test("it cannot list, flush or replace the rules, nor mark a socket", async () => {
      const mark = (level: number, name: number): string =>
        `python3 -c "import socket; s=socket.socket(); s.setsockopt(${level}, ${name}, 0x539)"`;
      await mustFail({
        list: "nft list ruleset | grep -q heddle",
        flush: "nft flush ruleset",
        "list by iptables": "iptables -t nat -S",
        "flush by iptables": "iptables -t nat -F",
        SO_MARK: mark(1, 36),
        "SO_MARK in a user namespace of its own": `unshare -Ur ${mark(1, 36)}`,
        IP_TRANSPARENT: mark(0, 19),
        "a packet socket": `python3 -c "import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 3)"`,
        "a raw socket": `python3 -c "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)"`,
        "a network namespace of its init": "nsenter -t 1 -n true",
        "a new address": "ip addr add 198.18.9.9/16 dev eth0",
        "a new route": "ip route add 203.0.113.0/24 dev eth0",
        "a kernel setting": "sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'",
      });
    });

    test("it finds no key, token, socket or state of anybody, its own sidecar's included", async () => {
      const names = ["victim-0.default", "intruder-0.default"];
      const files = ["identity.json", "token", "admin.sock", "options.json", "xds.sock"];
      const paths = [
        ...names.flatMap((name) => files.map((file) => join(mesh.stateDir, "i", name, file))),
        ...["api.sock", "ca", "supervisor.json", "netns"].map((name) => join(mesh.stateDir, name)),
      ];
      // Whatever the way there. Other meshes' folders, running or left behind, are none of this mesh's.
      const own = `/${basename(dirname(mesh.directory))}/`;
      const { stdout } = await intruder(
        `for p in ${paths.join(" ")}; do [ -e $p ] && echo "exists $p"; done; ls -A ${mesh.stateDir}; ` +
          `find / -xdev \\( -name identity.json -o -name admin.sock -o -name api.sock -o -name root-key.pem \\) -path '*${own}*' 2>/dev/null`,
      );
      assert.equal(stdout, "");
      assert(names.every((name) => statSync(join(mesh.stateDir, "i", name)).isDirectory()));
    });

    test("it inherits no descriptor beyond its standard ones", async () => {
      // The application's init: standard input, output and error, where Node's pipes are sockets.
      const { stdout } = await intruder(
        "cd /proc/1/fd; for fd in *; do echo $fd $(readlink $fd); done",
      );
      // What this test was itself started with is not the mesh's.
      const own = new Set(readdirSync("/proc/self/fd").flatMap(linkOf));
      const others = stdout
        .split("\n")
        .filter((line) => /^(?:[3-9]|\d{2,}) /.test(line) && !own.has(line.split(" ")[1] ?? ""));
      assert.deepEqual(others, []);
      const { stdout: environment } = await intruder("tr '\\0' '\\n' </proc/1/environ; env");
      // By name: npm puts the text of its own script, which names such a variable, into a value.
      assert.doesNotMatch(environment, /^(?:NODE_CHANNEL_FD|HEDDLE_\w*|\w*token\w*)=/im);
    });

    test("it sees, signals and traces no process but its own", async () => {
      const { stdout } = await intruder("cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
      assert.doesNotMatch(stdout, /sidecar --options|control --options|supervise|envoy -c/);
      const { stdout: pids } = await intruder("ls /proc | grep -c '^[0-9]'");
      assert(Number(pids) < 15, pids);
      const outside = mesh.workload("intruder-0").sidecarPid;
      await mustFail({
        "signal by the host's number": `kill -0 ${outside}`,
        "memory by the host's number": `head -c 1 /proc/${outside}/mem`,
        "a fresh view of processes": "mount -t proc proc /proc && pgrep -f sidecar",
        "a fresh view in a namespace of its own": `unshare -Urm sh -c 'umount ${mesh.stateDir} && ls ${mesh.stateDir}/i'`,
        "the state under a mount of its own": `unshare -Urm sh -c 'mkdir -p /tmp/m && mount --bind / /tmp/m && ls /tmp/m${mesh.stateDir}/i'`,
      });
    });

    test("its sidecar's code and the mesh's program cannot be written", async () => {
      const root = join(import.meta.dirname, "../..");
      // Without root the application has the same user as its sidecar: modes alone do not help.
      const { stdout } = await intruder("grep -F /src /proc/self/mountinfo");
      assert.match(stdout, new RegExp(` ${root}/src ro[ ,]`));
      await mustFail({
        bundle: `touch ${root}/.cache/bundle/x`,
        sources: `touch ${root}/src/cli/x.ts`,
        binary: `touch ${process.execPath}`,
        "through a mount of its own": `unshare -Urm sh -c 'mount -o remount,bind,rw ${root} && touch ${root}/src/cli/x.ts'`,
      });
    });

    test("the mesh's folder cannot be written, whatever its modes say", async () => {
      chmodSync(mesh.directory, 0o777);
      chmodSync(join(mesh.directory, "heddle.yaml"), 0o666);
      const [policy, meshYaml] = ["allow.yaml", "heddle.yaml"].map((name) =>
        join(mesh.directory, name),
      );
      const remount = `mount -o remount,bind,rw ${mesh.directory}`;
      const attempts = {
        "a new policy": `echo >${policy}`,
        "from the folder it was started in": "echo >allow.yaml",
        "from its init's folder": "cd /proc/1/cwd && echo >allow.yaml",
        "what runs": `echo >>${meshYaml}`,
        "another file in its place": `mv ${meshYaml} ${meshYaml}.old`,
        "through a mount of its own": `unshare -Urm sh -c '${remount} && echo >${policy}'`,
        "from below the mount": `unshare -Urm sh -c 'umount -l ${mesh.directory} && echo >${policy}'`,
      };
      await mustFail(attempts);
      const { stderr } = await intruder(attempts["a new policy"]);
      assert.match(stderr, /Read-only file system/);
      assert.deepEqual(readdirSync(mesh.directory), [".scratch", "heddle.yaml"]);
    });

    test("a folder that is declared writable can be written, and no policy is read from it", async () => {
      const scratch = join(mesh.directory, ".scratch");
      chmodSync(scratch, 0o777);
      const { code, stderr } = await intruder(
        `echo data >${scratch}/file && mv ${scratch}/file ${scratch}/allow.yaml`,
      );
      assert.equal(code, 0, stderr);
      assert.deepEqual(readdirSync(scratch), ["allow.yaml", "here"]);
      await mustFail({ "out of it": `mv ${scratch}/allow.yaml ${mesh.directory}/` });
    });

    test("it reaches none of the control plane's private doors", async () => {
      const ask = (at: string): string => `curl -s -m 3 -o /dev/null ${at}`;
      await mustFail({
        "plain xDS on its loopback": ask("--http2-prior-knowledge http://127.0.0.1:15010/"),
        "plain xDS at the edge": ask("--http2-prior-knowledge http://198.18.0.1:15010/"),
        "metrics at the edge": ask("http://198.18.0.1:15014/metrics"),
        "the uplink itself": ask("http://198.18.0.1:15099/"),
        "the console on loopback": ask(mesh.consoleUrl),
        "the console through the uplink": ask(
          `--connect-to ::198.18.0.1:${new URL(mesh.consoleUrl).port} ${mesh.consoleUrl}`,
        ),
      });
    });

    test("its sidecar's admin port only tells, and tells no key", async () => {
      const admin = "http://127.0.0.1:15000";
      const code = "-s -m 5 -o /dev/null -w '%{http_code}\\n'";
      const changing = [
        "logging?level=debug",
        "quitquitquit",
        "drain_listeners",
        "reset_counters",
        "healthcheck/fail",
        "runtime_modify?a=b",
        "cpuprofiler?enable=y",
      ];
      const { stdout } = await intruder(
        changing
          .map((path) => `curl ${code} -X POST ${admin}/${path}; curl ${code} ${admin}/${path}`)
          .join("; "),
      );
      assert.equal(stdout, "403\n".repeat(changing.length * 2));
      const { stdout: told } = await intruder(
        ["config_dump", "config_dump?include_eds", "certs", "server_info", "stats", "clusters"]
          .map((path) => `curl -s -m 5 '${admin}/${path}'`)
          .join("; "),
      );
      const [key = ""] = privateKeyLines("intruder-0");
      assert(told.length > 10_000);
      assert.equal(told.includes(key), false);
      assert.doesNotMatch(told, /PRIVATE KEY|"inline_bytes": ?"LS0tLS1CRUdJTiBQ/);
    });

    const privateKeyLines = (instance: string): readonly string[] => {
      const file = join(mesh.stateDir, "i", `${instance}.default`, "identity.json");
      const stored: unknown = JSON.parse(readFileSync(file, "utf8"));
      assert(typeof stored === "object" && stored !== null && "privateKeyPem" in stored);
      return String(stored.privateKeyPem).split("\n").slice(1, -2);
    };

    test("the files of the state directory are their owner's alone", () => {
      const modes = ["token", "identity.json", "options.json", "admin.sock"].map((name) => {
        const { mode: bits } = statSync(join(mesh.stateDir, "i", "victim-0.default", name));
        return `${name} ${(bits & 0o077).toString(8)}`;
      });
      assert.deepEqual(modes, ["token 0", "identity.json 0", "options.json 0", "admin.sock 0"]);
      assert.equal(statSync(join(mesh.stateDir, "i", "victim-0.default")).mode & 0o077, 0);
      assert.equal(statSync(join(mesh.stateDir, "ca")).mode & 0o077, 0);
    });
  });
}

// As in root's home. Without root there is nobody to close a folder against: the application is its owner.
if (process.getuid?.() === 0) {
  test("an application works below a closed folder, and sees nothing else of it", async (t) => {
    const closed = mkdtempSync(join(tmpdir(), "heddle-closed-"));
    t.after(() => rmSync(closed, { recursive: true }));
    const project = join(closed, "my project");
    mkdirSync(project);
    writeFileSync(join(project, "page.txt"), "page");
    writeFileSync(join(project, "private.txt"), "private");
    chmodSync(join(project, "private.txt"), 0o600);
    writeFileSync(join(closed, "other.txt"), "other");
    chmodSync(closed, 0o700);
    await using mesh = await startMesh({
      mode: "root",
      processes: "heddle",
      files: {
        "heddle.yaml": `workloads: [{ name: w, workingDirectory: '${project}', command: [{exec}] }]`,
      },
    });
    const run = async (script: string) => await mesh.workload("w-0").exec(script);
    assert.equal((await run("cat page.txt")).stdout, "page");
    assert.equal((await run(`cd '${closed}' && ls -A`)).stdout, "my project\n");
    for (const refused of ["cat private.txt", "echo >new.txt", `echo >'${closed}/new.txt'`]) {
      assert.notEqual((await run(refused)).code, 0, refused);
    }
  });
}
