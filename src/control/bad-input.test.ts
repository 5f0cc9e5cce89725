/**
 * What operators write wrong, through the folder and the whole control plane: each mistake is a problem
 * with code, file, line, column and remedy, and everything else still applies.
 */
import assert from "node:assert/strict";
import { mkdtempSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { silentLog } from "../../test/support/silent-log.ts";
import { systemClock } from "../base/clock.ts";
import { formatProblem, type Problem } from "../base/problem.ts";
import type { WorkloadInstance } from "../model/workload.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { type ConfigDirectory, watchConfigDirectory } from "./config-directory.ts";
import { type StartedControlPlane, startControlPlane } from "./control-plane.ts";

const networking = "apiVersion: networking.istio.io/v1";
const good = `${networking}
kind: VirtualService
metadata: { name: good }
spec:
  hosts: [cart]
  http: [{ route: [{ destination: { host: cart } }] }]
`;

/** A VirtualService whose \`spec\` begins on line 4. */
function rule(spec: string, kind = "VirtualService"): string {
  return `${networking}\nkind: ${kind}\nmetadata: { name: bad }\nspec:\n${spec}\n`;
}

interface Mistake {
  readonly what: string;
  readonly text: string;
  /** `CODE LINE:COLUMN`, and words of the message with its remedy. */
  readonly says: string;
  readonly remedy: RegExp;
}

const bomb = Array.from({ length: 30 }, (_, level) =>
  level === 0 ? "a0: &a0 [x, x]" : `a${level}: &a${level} [*a${level - 1}, *a${level - 1}]`,
).join("\n");

const mistakes: readonly Mistake[] = [
  {
    what: "an unknown kind",
    text: rule("  hosts: [cart]", "VirtualServce"),
    says: "config.unknown-kind 2:7",
    remedy: /did you mean VirtualService\?/,
  },
  {
    what: "an unknown field",
    text: rule("  hosts: [cart]\n  htpp: []"),
    says: "config.unknown-field 6:3",
    remedy: /did you mean http\?/,
  },
  {
    what: "a wrong type",
    text: rule(
      "  hosts: [cart]\n  http: [{ timeout: [1], route: [{ destination: { host: cart } }] }]",
    ),
    says: "config.bad-duration 6:21",
    remedy: /write for example 500ms/,
  },
  {
    what: "text where a list belongs",
    text: rule("  hosts: cart"),
    says: "config.wrong-type 5:10",
    remedy: /write \[cart\]/,
  },
  {
    what: "a duplicate name",
    text: good.replace("[cart]", "[orders]"),
    says: "config.duplicate-name 1:1",
    remedy: /rename one of them/,
  },
  {
    what: "a dangling host that is nearly another",
    text: rule("  hosts: [web]\n  http: [{ route: [{ destination: { host: carts } }] }]"),
    says: "virtualservice.host-not-found 6:43",
    remedy: /did you mean cart\?/,
  },
  {
    what: "a dangling host like no other",
    text: rule("  hosts: [web]\n  http: [{ route: [{ destination: { host: warehouse } }] }]"),
    says: "virtualservice.host-not-found 6:43",
    remedy: /declare .* in heddle\.yaml/,
  },
  {
    what: "a dangling subset",
    text: rule(
      "  hosts: [web]\n  http: [{ route: [{ destination: { host: cart, subset: v9 } }] }]",
    ),
    says: "virtualservice.subset-not-found 6:57",
    remedy: /subset/,
  },
  {
    what: "weights that do not add up",
    text: rule(
      "  hosts: [web]\n  http: [{ route: [{ destination: { host: cart }, weight: 60 }, { destination: { host: cart }, weight: 30 }] }]",
    ),
    says: "virtualservice.weights 6:19",
    remedy: /100/,
  },
  {
    what: "a YAML bomb",
    text: `kind: VirtualService\n${bomb}\n`,
    says: "yaml.too-many-nodes",
    remedy: /./,
  },
  {
    what: "text that is no YAML",
    text: "kind: VirtualService\n  metadata: [",
    says: "yaml.syntax 2:11",
    remedy: /./,
  },
];

const folder = mkdtempSync(join(tmpdir(), "heddle-bad-"));
let plane: StartedControlPlane;
let watched: ConfigDirectory | undefined;

before(async () => {
  const configDir = mkdtempSync(join(folder, "config-"));
  writeFileSync(join(configDir, "good.yaml"), good);
  plane = await startControlPlane({
    options: {
      mesh: "test",
      configDir,
      stateDir: join(folder, "state"),
      trustDomain: "cluster.local",
      rootNamespace: "istio-system",
      secureXds: { address: "127.0.0.1", port: 0 },
      console: { address: "127.0.0.1", port: 0 },
      consoleToken: "",
      apiSocket: "",
      certificateTtlMs: 3_600_000,
      logLevel: "error",
      logFormat: "text",
    },
    clock: systemClock,
    log: silentLog,
    metrics: createMetricRegistry(),
    watchConfig: (options) => (watched = watchConfigDirectory(options)),
  });
  plane.setWorkloads({ kind: "workloads", problems: [], snapshot: running });
  write = (name, text) => {
    writeFileSync(join(configDir, `.${name}`), text);
    renameSync(join(configDir, `.${name}`), join(configDir, name));
  };
  grow = (name, bytes) => truncateSync(join(configDir, name), bytes);
});
after(async () => {
  await plane.close();
  rmSync(folder, { recursive: true });
});

let write: (name: string, text: string) => void;
let grow: (name: string, bytes: number) => void;

const instances = ["cart", "web"].map((name): WorkloadInstance => ({
  name: `${name}-0`,
  workload: name,
  namespace: "default",
  serviceAccount: name,
  labels: { app: name },
  role: "workload",
  addresses: ["198.18.0.9"],
  ports: [],
  capture: "transparent",
  localDestinations: [],
  state: "ready",
  tokenSha256: "",
  dataPlane: "heddle",
  adminSocket: "",
  metricsUrl: "",
  restarts: 0,
  sidecarPorts: { outbound: 15_001, inbound: 15_006 },
}));

const running = {
  revision: 1,
  instances,
  services: instances.map(({ workload: name }) => ({
    name,
    namespace: "default",
    addresses: [],
    ports: [{ name: "http", port: 80, targetPort: 80, protocol: "http" as const }],
    selector: { app: name },
  })),
};

async function problemsOf(file: string): Promise<readonly Problem[]> {
  await watched?.rescan();
  await plane.settled();
  assert.deepEqual(
    plane.resources({ name: "good" }).map(({ source }) => source?.file),
    ["good.yaml"],
    "what is right still applies",
  );
  return plane.problems().filter(({ source }) => source?.file === file);
}

for (const { what, text, says, remedy } of mistakes) {
  test(`startControlPlane() reports ${what} with its place and a remedy`, async () => {
    write("zbad.yaml", text);
    const problems = await problemsOf("zbad.yaml");
    const shown = problems.map(formatProblem).join("\n");
    const found = problems.find(({ code, source }) =>
      `${code} ${source?.line}:${source?.column}`.startsWith(says),
    );
    assert(found !== undefined, shown);
    assert.match(`${found.message}; ${found.hint ?? ""}`, remedy);
    assert.notEqual(found.hint, undefined, `no remedy: ${shown}`);
  });
}

test("startControlPlane() reports a file of 100 MB without reading it", async () => {
  write("zbad.yaml", "");
  grow("zbad.yaml", 100 * 1024 * 1024);
  const [problem] = await problemsOf("zbad.yaml");
  assert(problem !== undefined);
  assert.equal(problem.code, "config.unreadable-file");
  assert.match(formatProblem(problem), /^zbad\.yaml:1:1: error .*104857600 bytes/);
  assert.notEqual(problem.hint, undefined);
});
