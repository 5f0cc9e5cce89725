/**
 * The command line against a running mesh, through `./heddle`: configuration goes in, is shown, acts
 * and goes; `--wait` waits for each proxy; exit statuses and output formats are what docs/cli.md says.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { loadAll } from "js-yaml";

import type { ProxyStatus } from "../../src/console/api.ts";
import { type CliResult, cliOf, runCli } from "./support/cli.ts";
import { dataPlanes, faultMode, startFaultMesh } from "./support/faults.ts";
import { descendantsOf } from "./support/mesh-processes.ts";
import { eventually, type TestMesh } from "./support/mesh.ts";

const meshFile = `
mesh: cli
console: { port: 0 }
workloads:
- name: server
  command: [{exec}, "8080"]
  ports: [{ port: 80, targetPort: 8080, protocol: HTTP }]
- name: client
  dependsOn: [server]
  command: [{exec}]
`;

/** Answers of `server` carry the header `x-live`. */
function route(value: string, name = "server"): string {
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: ${name} }
spec:
  hosts: [server]
  http:
  - headers: { response: { set: { x-live: "${value}" } } }
    route: [{ destination: { host: server } }]
`;
}

for (const dataPlane of dataPlanes) {
  describe(`command line, ${faultMode}, ${dataPlane}`, () => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-cli-"));
    let mesh: TestMesh;
    let heddle: (line: string, input?: string) => Promise<CliResult>;
    before(async () => {
      mesh = await startFaultMesh(dataPlane, { "heddle.yaml": meshFile });
      heddle = cliOf(mesh);
    });
    after(async () => {
      await mesh.stop();
      rmSync(folder, { recursive: true });
    });

    const file = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text);
      return join(folder, name);
    };
    const done = async (line: string, input?: string): Promise<string> => {
      const { code, stdout, stderr } = await heddle(line, input);
      assert.equal(code, 0, `heddle ${line}: ${stdout}${stderr}`);
      return stdout;
    };
    const headerNow = async (): Promise<string> => {
      const { stdout } = await mesh
        .workload("client-0")
        .exec("curl -s -m 5 -o /dev/null -D - http://server/");
      return /^x-live: (.*?)\r?$/im.exec(stdout)?.[1] ?? "";
    };

    test("apply --wait returns when it acts; get shows it; delete takes it away", async () => {
      const path = file("route.yaml", route("one"));
      assert.match(
        await done(`apply -f ${path} --wait`),
        /virtualservice\/default\/server created/,
      );
      assert.equal(await headerNow(), "one");
      assert.match(await done(`apply -f ${path}`), /unchanged/);
      const changed = await done("apply -f - --wait", route("two"));
      assert.match(changed, /server configured\nacknowledged by \d+ prox/);
      assert.equal(await headerNow(), "two");
      assert.match(await done("get vs"), /VirtualService +default +server .* -$/m);
      assert.equal(await done("get vs/server -o yaml"), route("two"));
      const shown: unknown = JSON.parse(await done("get virtualservices server -o json"));
      assert(Array.isArray(shown) && shown.length === 1);
      assert.match(await done("delete vs server --wait"), /server removed/);
      assert.equal(await headerNow(), "");
      const { code, stderr } = await heddle("get vs server");
      assert.equal(code, 1);
      assert.match(stderr, /there is no VirtualService server/);
    });

    test("apply --namespace places what names none, and keeps saying so", async () => {
      const policy = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: { name: placed }
spec: { host: server.default.svc.cluster.local }
`;
      const created = await done("apply --namespace other -f -", policy);
      assert.match(created, /destinationrule\/other\/placed created/);
      assert.match(await done("get dr -n other -o yaml"), /namespace: 'other'/);
      assert.match(await done("get dr -n default"), /no resources/);
      const path = file("placed.yaml", policy);
      const elsewhere = await heddle(`delete -f ${path}`);
      assert.equal(elsewhere.code, 1, elsewhere.stdout);
      assert.match(
        await done(`delete -f ${path} -n other`),
        /destinationrule\/other\/placed removed/,
      );
    });

    test("what is wrong changes nothing, and is said with its place", async () => {
      const path = file("wrong.yaml", route("x").replace("hosts:", "hostz:"));
      for (const command of ["apply", "validate"]) {
        const { code, stdout } = await heddle(`${command} -f ${path}`);
        assert.equal(code, 1);
        assert(stdout.includes(`${path}:5:3: error config.unknown-field`), stdout);
        assert.match(stdout, /did you mean hosts\?/);
      }
      const dangling = route("x").replace("host: server", "host: sever");
      const { code, stdout } = await heddle("apply --wait -f -", dangling);
      assert.equal(code, 1);
      assert.match(stdout, /^nothing was changed\n$/m);
      assert.match(
        stdout,
        /^-:8:\d+: error virtualservice\.host-not-found.*did you mean server\?/m,
      );
      assert.match(await done("get vs"), /no resources/);
      assert.match(await done("apply --dry-run -f -", route("y")), /created \(dry run\)/);
      assert.match(await done("get vs"), /no resources/);
    });

    test("a resource that a file holds is changed there", async () => {
      mesh.write("in-file.yaml", route("file", "in-file"));
      await eventually("the file is read", async () => (await heddle("get vs in-file")).code === 0);
      for (const line of ["apply -f -", "delete vs in-file"]) {
        const { code, stdout } = await heddle(line, route("applied", "in-file"));
        assert.equal(code, 1);
        assert.match(stdout, /apply\.in-file: .*in-file\.yaml:1/);
      }
      mesh.write("in-file.yaml", "# nothing\n");
    });

    test("apply --wait names a proxy that is frozen", async () => {
      const sidecar = mesh.workload("client-0").sidecarPid;
      // Beside Envoy stands an agent, which goes on: the proxy itself must be silent.
      const [frozen = sidecar] = dataPlane === "envoy" ? descendantsOf(sidecar) : [sidecar];
      process.kill(frozen, "SIGSTOP");
      try {
        const { code, stdout } = await heddle("apply --wait --timeout 2s -f -", route("late"));
        assert.equal(code, 1, stdout);
        assert.match(stdout, /no answer from client-0\.default/);
        assert.doesNotMatch(stdout, /no answer from server-0/);
      } finally {
        process.kill(frozen, "SIGCONT");
      }
      await eventually("it acknowledges", async () => {
        const { code } = await heddle("apply --wait --timeout 5s -f -", route("late"));
        return code === 0;
      });
      assert.equal(await headerNow(), "late");
      await done("delete vs server --wait");
    });

    test("a refusal is shown with proxy, resource, place and the proxy's own reason", async () => {
      await done("apply --wait -f -", route("good"));
      const path = file("refused.yaml", `# why\n${route("%NO_SUCH_THING%")}`);
      const applied = await heddle(`apply --wait -f ${path}`);
      assert.equal(applied.code, 1, applied.stdout);
      assert.match(applied.stdout, /client-0\.default refused RDS 80/);
      assert.match(applied.stdout, /NO_SUCH_THING/);
      for (const command of ["ps", "status"]) {
        const { code, stdout } = await heddle(command);
        assert.equal(code, 1, stdout);
        assert.match(stdout, /client-0\.default refused RDS 80/);
        assert.match(stdout, /applied\/VirtualService\.default\.server\.[^:]*\.yaml:2/);
        assert.match(stdout, /NO_SUCH_THING/);
      }
      const { stdout } = await heddle("ps client -o json");
      const [status]: ProxyStatus[] = JSON.parse(stdout);
      const [refusal] = status?.refusals ?? [];
      assert.deepEqual(refusal?.resources, ["80"]);
      assert.equal(refusal.origins[0]?.ref.name, "server");
      assert.equal(await headerNow(), "good", "the last good routes keep serving");
      await done("delete vs server --wait");
      assert.equal((await heddle("ps")).code, 0);
    });

    test("exit statuses tell findings, wrong usage and a silent mesh apart", async () => {
      const check = async (line: string, code: number, sentence: RegExp): Promise<void> => {
        const result = await heddle(line);
        assert.equal(result.code, code, `heddle ${line}: ${result.stdout}${result.stderr}`);
        assert.match(`${result.stdout}${result.stderr}`, sentence);
      };
      await check("status", 0, /mesh cli:/);
      await check("validate -f /nonexistent.yaml", 2, /can't read \/nonexistent\.yaml/);
      const short = "}, weight: 60 }, { destination: { host: server }, weight: 30 }]";
      const warned = file("warned.yaml", route("x").replace("} }]", short));
      await check(`validate -f ${warned}`, 0, /:8:\d+: warning .*\b0 errors, 1 warnings\n$/s);
      await check(`validate --strict -f ${warned}`, 1, /\b0 errors, 1 warnings\n$/);
      await check(`validate --strict -f ${file("fine.yaml", route("x"))}`, 0, /\b0 warnings\n$/);
      await check("apply", 2, /required option/);
      await check("apply -f - --wrong", 2, /unknown option/);
      await check("wrong", 2, /unknown command/);
      await check("delete", 2, /name what to remove/);
      await check("delete vs nobody", 1, /there is no VirtualService nobody/);
      await check("pc routes client --subset v1", 2, /unknown option '--subset'/);
      await check("pc log client --level warn", 0, /^active loggers:/);
      await check("pc log client --level nobody:warn", 1, /refuses --level nobody:warn: .*\n$/);
      await check("ps client.default", 0, /^client-0\.default/m);
      await check("logs default/client --tail 0", 0, /^$/);
      await check("logs nobody", 1, /there is no workload nobody/);
      const away = await runCli(join(folder, "nowhere"), ["get"]);
      assert.equal(away.code, 3, away.stderr);
      assert.match(away.stderr, /not running; start it with 'heddle up DIR'/);
    });

    test("what is wrong beside resources goes to standard error where a program reads them", async () => {
      mesh.write("broken.yaml", "kind: [\n");
      await eventually("it is told", async () => (await done("get")).includes("broken.yaml"));
      const shown = await heddle("get -o json");
      assert.doesNotThrow(() => JSON.parse(shown.stdout), shown.stdout);
      for (const { stderr } of [
        shown,
        await heddle("get -o yaml"),
        await heddle("get all -o json"),
      ])
        assert.match(stderr, /^broken\.yaml:2:1: error yaml\.syntax: .*\n$/);
      assert.equal((await heddle("get vs -o json")).stderr, "", "nobody asked for all");
      mesh.write("broken.yaml", "");
      await eventually("it is mended", async () => (await heddle("get -o json")).stderr === "");
    });

    test("statistics have one scheme of names; a logger that does not exist is not made", async () => {
      const memory = await heddle("pc stats client --filter server_mem");
      assert.match(memory.stdout, /^envoy_server_memory_allocated(?:\{[^}]*\})?: \d+$/m);
      assert.doesNotMatch(memory.stdout, /cluster/);
      // Names with dots, as Envoy's own admin interface has them, find the same.
      const dotted = await heddle("pc stats client --filter server.memory_allocated");
      assert.match(dotted.stdout, /^envoy_server_memory_allocated/m);
      const made = await heddle("pc log client --level foo:debug");
      assert.equal(made.code, 1, made.stdout);
      assert.match(made.stderr, /logger/);
      assert.doesNotMatch((await heddle("pc log client")).stdout, /foo/);
      const known = dataPlane === "heddle" ? "listener" : "upstream";
      const changed = await heddle(`pc log client --level ${known}:debug`);
      assert.match(changed.stdout, new RegExp(`${known}: debug`));
      const list = await mesh.workload("client-0").exec("curl -s http://127.0.0.1:15000/");
      assert.match(list.stdout, /^GET answers:\n {2}\/config_dump\n/);
    });

    test("every command answers programs in JSON and in YAML", async () => {
      const path = file("valid.yaml", route("x"));
      const lines = [
        "status",
        "ps",
        "get",
        `validate -f ${path}`,
        `apply --dry-run -f ${path}`,
        `delete -f ${path}`,
        "logs server",
        "version",
        "down /nonexistent --state-dir /nonexistent",
        ...["listeners", "routes", "clusters", "endpoints", "secrets", "bootstrap", "all"].map(
          (view) => `pc ${view} client`,
        ),
        ...["log", "stats", "memory"].map((what) => `pc ${what} client`),
      ];
      for (const line of lines) {
        const json = (await heddle(`${line} -o json`)).stdout;
        const yaml = (await heddle(`${line} -o yaml`)).stdout;
        // Logs are one value for each line, so that they can be followed.
        const texts = line.startsWith("logs") ? json.split("\n").filter(Boolean) : [json];
        for (const text of texts) assert.doesNotThrow(() => JSON.parse(text), `${line}: ${text}`);
        assert.doesNotThrow(() => loadAll(yaml), `${line}: ${yaml}`);
      }
    });
  });
}
