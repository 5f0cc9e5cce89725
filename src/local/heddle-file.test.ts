import assert from "node:assert/strict";
import { test } from "node:test";

import { formatProblem } from "../base/problem.ts";
import { plainValue } from "../model/yaml.ts";
import { explicitProblems, restartProblems } from "./file/unheeded.ts";
import { parseHeddleFile } from "./heddle-file.ts";
import type { MeshFile } from "./mesh-file.ts";

/** Parses workloads (a YAML list) and compares the problems, without their hints, to `expected`. */
function checkProblems(text: string, expected: readonly string[]): void {
  const { value, problems } = parseHeddleFile(text, "heddle.yaml", "/home/ann/shop");
  const shown = problems.map((problem) => formatProblem(problem).split("; ")[0]);
  assert.deepEqual(shown, expected);
  assert.equal(value === undefined, expected.length > 0);
}

test("parseHeddleFile() fills in names, labels, ports and directories", () => {
  const text = `
workloads:
- name: catalog-v1
  service: catalog
  labels: { version: v1 }
  workingDirectory: services
  command: [node, catalog.mjs]
  ports: [{ name: http-web, port: 80, targetPort: 8080 }]
- { name: loadgen, command: "sleep 1 && echo", dependsOn: [catalog-v1] }
`;
  const { value, problems } = parseHeddleFile(text, "heddle.yaml", "/home/ann/My Shop");
  assert.deepEqual(problems, []);
  assert.equal(value?.mesh, "my-shop");
  assert.equal(value.consolePort, 9977);
  const [catalog, loadgen] = value.workloads;
  assert.deepEqual(catalog?.labels, {
    app: "catalog",
    version: "v1",
    "service.istio.io/canonical-name": "catalog",
    "service.istio.io/canonical-revision": "v1",
  });
  assert.deepEqual(catalog.ports, [
    { name: "http-web", port: 80, targetPort: 8080, protocol: "http" },
  ]);
  assert.equal(catalog.workingDirectory, "/home/ann/My Shop/services");
  assert.equal(loadgen?.service, undefined);
  assert.deepEqual(loadgen?.command, ["sh", "-c", "sleep 1 && echo"]);
});

test("parseHeddleFile() lets applications write only where no configuration is read", () => {
  const writable = (paths: string): string =>
    `workloads: [{ name: a, command: a, writable: ${paths} }]`;
  const { value } = parseHeddleFile(
    writable("[.data, web/node_modules/.vite]"),
    "heddle.yaml",
    "/home/ann/.shop",
  );
  assert.deepEqual(value?.workloads[0]?.writable, [
    "/home/ann/.shop/.data",
    "/home/ann/.shop/web/node_modules/.vite",
  ]);
  const refusals: Readonly<Record<string, string>> = {
    "[data]": "configuration is read from data, so that applications must not write it",
    "[.]": ". is not inside the mesh's folder",
    "[.data/../..]": ".data/../.. is not inside the mesh's folder",
    "[/var/lib]": "/var/lib is not inside the mesh's folder",
    "[.data/../policies]":
      "configuration is read from .data/../policies, so that applications must not write it",
    "[.data, .data/x]": ".data/x and /home/ann/.shop/.data contain one another",
  };
  for (const [paths, message] of Object.entries(refusals)) {
    const { problems } = parseHeddleFile(writable(paths), "heddle.yaml", "/home/ann/.shop");
    assert.deepEqual(
      problems.map((problem) => problem.message),
      [message],
    );
  }
});

test("parseHeddleFile() says what is wrong, with its place, and all of it at once", () => {
  checkProblems(
    `workloads:
- name: Catalog
  comand: [node]
  replicas: 1000
`,
    [
      'heddle.yaml:2:9: error heddle-file.name: "Catalog" cannot be a name (workloads[0].name)',
      "heddle.yaml:2:3: error heddle-file.required: a workload needs a command (workloads[0].command)",
      'heddle.yaml:4:13: error heddle-file.type: replicas must be a whole number from 0 to 100, not "1000" (workloads[0].replicas)',
      "heddle.yaml:3:3: error heddle-file.unknown-field: comand is not a field here (workloads[0].comand)",
    ],
  );
});

test("parseHeddleFile() refuses duplicates, dangling and circular dependencies", () => {
  checkProblems(
    `workloads:
- { name: a, command: [x], dependsOn: [b] }
- { name: b, command: [x], dependsOn: [a] }
- { name: a, command: [x], dependsOn: [c] }
`,
    [
      "heddle.yaml:4:3: error heddle-file.duplicate: there are two workloads or gateways named default/a",
      "heddle.yaml:4:3: error heddle-file.depends-on: a depends on c, which is not a workload",
    ],
  );
  checkProblems(
    `workloads:
- { name: a, command: [x], dependsOn: [b] }
- { name: b, command: [x], dependsOn: [a] }
`,
    ["heddle.yaml:2:3: error heddle-file.depends-on: dependsOn goes in a circle: a -> b -> a"],
  );
});

test("parseHeddleFile() refuses host ports used twice and names too long for a certificate", () => {
  checkProblems(
    `console: { port: 8080 }
gateways: [{ name: g, ports: [{ port: 80, hostPort: 8080 }] }]
workloads: [{ name: ${"a".repeat(60)}, namespace: shop, command: [x] }]
`,
    [
      `heddle.yaml:3:13: error heddle-file.name: ${"a".repeat(60)}-0.shop is longer than 64 characters`,
      "heddle.yaml:2:53: error heddle-file.duplicate: hostPort 8080 is also the console's port",
    ],
  );
});

test("parseHeddleFile() reports broken YAML by its place, and a file that holds nothing", () => {
  checkProblems("", [
    "heddle.yaml:1:1: error heddle-file.empty: the file must hold a mapping with workloads",
  ]);
  const { problems } = parseHeddleFile("workloads: [", "heddle.yaml", "/x");
  assert.equal(problems[0]?.code, "yaml.syntax");
});

test("parseHeddleFile() reads which Prometheus the console asks, and refuses what is no address", () => {
  const text = "metrics: { prometheus: 'https://prometheus.example/prefix' }\nworkloads: []\n";
  const { value } = parseHeddleFile(text, "heddle.yaml", "/x");
  assert.equal(value?.prometheusUrl, "https://prometheus.example/prefix");
  for (const url of ["prometheus:9090", "ftp://x", "http://me:secret@x", "http://x?y=1"]) {
    checkProblems(`metrics:\n  prometheus: ${url}\nworkloads: []\n`, [
      `heddle.yaml:2:15: error heddle-file.type: ${url} is not Prometheus's URL (metrics.prometheus)`,
    ]);
  }
});

test("parseHeddleFile() passes meshConfig on and reads its outbound policy", () => {
  const text = "meshConfig: { outboundTrafficPolicy: { mode: REGISTRY_ONLY }, other: 1 }\n";
  const { value } = parseHeddleFile(text, "heddle.yaml", "/x");
  assert.equal(value?.outboundTrafficPolicy, "REGISTRY_ONLY");
  assert(value.meshConfig !== undefined);
  assert.deepEqual(plainValue(value.meshConfig), {
    outboundTrafficPolicy: { mode: "REGISTRY_ONLY" },
    other: 1,
  });
});

test("parseHeddleFile() reads where an application exposes metrics", () => {
  const text = `
workloads:
- { name: a, command: a, metrics: { port: 9100 } }
- { name: b, command: b, metrics: { port: 80, path: "/own?x=1" } }
- { name: c, command: c }
`;
  const { value } = parseHeddleFile(text, "heddle.yaml", "/home/ann/shop");
  assert.deepEqual(
    value?.workloads.map((one) => one.metrics),
    [{ port: 9100, path: "/metrics" }, { port: 80, path: "/own?x=1" }, undefined],
  );
  for (const [merge, expected] of [
    ["true", [9100, 80, undefined]],
    ["false", [undefined, undefined, undefined]],
  ] as const) {
    const mesh = `meshConfig: { enablePrometheusMerge: ${merge} }\n${text}`;
    const { value: read } = parseHeddleFile(mesh, "heddle.yaml", "/mesh");
    assert.deepEqual(
      read?.workloads.map((one) => one.metrics?.port),
      expected,
    );
  }
  checkProblems("workloads: [{ name: a, command: a, metrics: { port: 1, path: own } }]", [
    'heddle.yaml:1:62: error heddle-file.type: "own" is not a path (workloads[0].metrics.path)',
  ]);
});

test("parseHeddleFile() refuses another PORT than the first port's, and takes the same", () => {
  const workload = (port: string): string =>
    `workloads:
- name: web
  command: [web]
  environment: { MODE: fast, PORT: ${port} }
  ports: [{ port: 80, targetPort: 8080 }]
`;
  checkProblems(workload("9000"), [
    "heddle.yaml:4:30: error heddle-file.environment: the mesh sets PORT of web to its first port's targetPort, 8080, not to 9000 (workloads.web.environment.PORT)",
  ]);
  checkProblems(workload('"8080"'), []);
  checkProblems("workloads: [{ name: job, command: [job], environment: { PORT: 1 } }]", []);
});

test("parseHeddleFile() refuses a second document, which it would not read", () => {
  checkProblems("workloads: []\n---\nworkloads: []\n", [
    "heddle.yaml:3:1: error heddle-file.documents: the file holds more than one document",
  ]);
});

test("restartProblems() names each field that is read only at a start", () => {
  const parse = (text: string): MeshFile => {
    const { value } = parseHeddleFile(text, "heddle.yaml", "/home/ann/shop");
    assert(value !== undefined);
    return value;
  };
  const started = parse("workloads: []\n");
  const now = parse(`mesh: other
console: { port: 8000, address: 0.0.0.0 }
rootNamespace: mesh-root
gateways: [{ name: edge, ports: [{ port: 80, hostPort: 8081 }] }]
`);
  const remedy = "end the mesh and start it again: heddle down && heddle up";
  assert.deepEqual(restartProblems(started, started, { isExplicit: false }), []);
  assert.deepEqual(
    restartProblems(started, now, { isExplicit: false }).map(({ source, message, hint }) => {
      assert.equal(hint, remedy);
      return `${source?.line}:${source?.column} ${message.split(":")[0]}`;
    }),
    [
      "1:7 mesh is other here and shop in the mesh that runs",
      "2:18 console.port is 8000 here and 9977 in the mesh that runs",
      "2:33 console.address is 0.0.0.0 here and 127.0.0.1 in the mesh that runs",
      "3:16 rootNamespace is mesh-root here and istio-system in the mesh that runs",
    ],
  );
});

test("explicitProblems() names each variable that explicit mode sets itself", () => {
  const { value } = parseHeddleFile(
    `console: { address: 0.0.0.0 }
gateways: [{ name: edge, ports: [{ port: 80 }] }]
workloads:
- name: web
  command: [web]
  environment: { HTTP_PROXY: "http://proxy:3128", LEDGER_ADDR: "ledger:1", PORT_8080: "1", MINE: "1" }
  ports: [{ port: 80, targetPort: 8080 }]
  destinations: [{ service: ledger, port: 9000 }]
`,
    "heddle.yaml",
    "/home/ann/shop",
  );
  assert(value !== undefined);
  assert.deepEqual(
    explicitProblems(value).map((one) => `${one.source?.line}:${one.source?.column} ${one.path}`),
    [
      "6:18 workloads.web.environment.HTTP_PROXY",
      "6:51 workloads.web.environment.LEDGER_ADDR",
      "6:76 workloads.web.environment.PORT_8080",
      "1:21 console.address",
    ],
  );
});

test("parseHeddleFile() takes from meshConfig what must be known before the control plane starts", () => {
  const settings = (text: string): unknown => {
    const { value } = parseHeddleFile(`workloads: []\n${text}`, "heddle.yaml", "/x");
    return value && [value.trustDomain, value.rootNamespace, value.outboundTrafficPolicy];
  };
  assert.deepEqual(settings(""), ["cluster.local", "istio-system", "ALLOW_ANY"]);
  const given = "trustDomain: shop.example, rootNamespace: mesh-root";
  const mode = "outboundTrafficPolicy: { mode: REGISTRY_ONLY }";
  assert.deepEqual(settings(`meshConfig: { ${given}, ${mode} }`), [
    "shop.example",
    "mesh-root",
    "REGISTRY_ONLY",
  ]);
  assert.deepEqual(settings(`rootNamespace: mine\nmeshConfig: { ${given} }`), [
    "shop.example",
    "mine",
    "ALLOW_ANY",
  ]);
});
