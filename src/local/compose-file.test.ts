import assert from "node:assert/strict";
import { test } from "node:test";

import { parseComposeFile } from "./compose-file.ts";
import { splitWords } from "./file/words.ts";

test("parseComposeFile() reads processes, ports, scale and heddle labels", () => {
  const text = `
name: shop
services:
  edge:
    labels: { heddle.gateway: "true", heddle.namespace: istio-system }
    ports: ["127.0.0.1:8080:80"]
  web:
    command: node "my server.mjs" --fast
    environment: [MODE=fast, INHERITED]
    depends_on: { api: { condition: service_started } }
    ports: ["80", "53/udp"]
    scale: 2
  api:
    command: [node, api.mjs]
    expose: [9000]
    deploy: { replicas: 3 }
    labels: ["heddle.version=v2", "heddle.protocol=tcp", "heddle.destinations=web:80"]
`;
  const { value, problems } = parseComposeFile(text, "compose.yaml", "/home/ann/x");
  assert.deepEqual(problems, []);
  assert.equal(value?.mesh, "shop");
  const [gateway] = value.gateways;
  assert.equal(gateway?.namespace, "istio-system");
  assert.equal(gateway?.ports[0]?.hostPort, 8080);
  const [web, api] = value.workloads;
  assert.deepEqual(web?.command, ["node", "my server.mjs", "--fast"]);
  assert.deepEqual(web?.environment, { MODE: "fast" });
  assert.deepEqual(web?.dependsOn, ["api"]);
  assert.deepEqual(
    web?.ports.map(({ port, protocol }) => [port, protocol]),
    [
      [80, "auto"],
      [53, "udp"],
    ],
  );
  assert.equal(web?.replicas, 2);
  assert.equal(api?.replicas, 3);
  assert.equal(api?.labels["version"], "v2");
  assert.equal(api?.serviceAccount, "api");
  assert.deepEqual(api?.destinations, [{ service: "web", port: 80 }]);
  assert.deepEqual(api?.ports, [
    { name: "tcp-9000", port: 9000, targetPort: 9000, protocol: "tcp" },
  ]);
});

test("parseComposeFile() reads of x-heddle where the console listens", () => {
  const services = "services: { web: { command: web } }\n";
  const parse = (extension: string) =>
    parseComposeFile(`${services}${extension}`, "compose.yaml", "/x").value;
  assert.equal(parse("")?.consolePort, 9977);
  const given = parse("x-heddle: { console: { port: 9978, address: 0.0.0.0 } }");
  assert.equal(given?.consolePort, 9978);
  assert.equal(given.hostAddress, "0.0.0.0");
  const { line, column } = given.places.consolePort;
  assert.deepEqual([line, column], [2, 30]);
  assert.deepEqual(problemsOf(`${services}x-heddle: { consol: { port: 1 } }`), [
    "2 error heddle-file.unknown-field: consol is not a field here",
  ]);
});

/** Each problem as `line severity code: message`. */
function problemsOf(text: string): readonly string[] {
  return parseComposeFile(text, "compose.yaml", "/x").problems.map(
    ({ source, severity, code, message }) => `${source?.line} ${severity} ${code}: ${message}`,
  );
}

test("parseComposeFile() refuses an image or a build without a command, at its place", () => {
  const text =
    "services:\n  db:\n    image: postgres\n    volumes: [x]\n  app: { build: . }\n  no: {}\n";
  const notKnown = "cannot be run: there are no containers here, and its own command is not known";
  assert.deepEqual(problemsOf(text), [
    `3 error heddle-file.container: image ${notKnown}`,
    "4 error heddle-file.container: volumes needs a container",
    `5 error heddle-file.container: build ${notKnown}`,
    "6 error heddle-file.required: a service needs a command",
  ]);
});

test("parseComposeFile() says of each key that has no effect what it does instead", () => {
  const text = `services:
  web:
    command: node web.mjs
    image: web
    healthcheck: { test: curl localhost }
    restart: "no"
    profiles: [later]
    deploy: { replicas: 2, resources: {} }
    ports: ["3000:80"]
    x-mine: anything
volumes: { data: }
x-other: anything
`;
  assert.deepEqual(
    problemsOf(text).toSorted(byLine),
    [
      "8 warning heddle-file.container: deploy.resources has no effect on processes of one machine",
      "9 warning heddle-file.published: port 3000 of the host is not opened: port 80 is reached through the mesh",
      "4 warning heddle-file.container: image has no effect: the image is not used: the command runs with the programs of this machine",
      "6 warning heddle-file.container: restart has no effect: a workload that ends is started again, whatever this says",
      "5 warning heddle-file.container: healthcheck has no effect: it is not run: a workload is ready when its ports accept connections",
      "7 warning heddle-file.container: profiles has no effect: the service runs whatever profiles are chosen",
      "11 warning heddle-file.container: volumes: no volume is made",
    ].toSorted(byLine),
  );
});

function byLine(one: string, other: string): number {
  return Number.parseInt(one, 10) - Number.parseInt(other, 10);
}

test("parseComposeFile() takes no variable, condition, label or protocol for what it is not", () => {
  const text = `services:
  web:
    command: [node, "--port=\${PORT:-80}"]
    environment: { HOME_OF: $HOME, COST: "$$5" }
    depends_on: { once: { condition: service_completed_successfully } }
    labels: { heddle.protcol: http, heddle.protocol: htp, heddle.namespace: Shop }
    ports: ["8000-8010:8000-8010"]
  once: { command: "sh -c 'echo $$0'" }
---
services: {}
`;
  assert.deepEqual(problemsOf(text).toSorted(byLine), [
    "3 error heddle-file.variable: ${PORT:-80} is not filled in here",
    "4 error heddle-file.variable: $HOME is not filled in here",
    "5 error heddle-file.container: once is never completed: a workload that ends is started again",
    "6 error heddle-file.unknown-field: heddle.protcol is not a label of Heddle's",
    '6 error heddle-file.name: "Shop" cannot be a name here',
    "6 error heddle-file.protocol: htp is not a protocol",
    "7 error heddle-file.type: ports[0] is not a port",
    "10 error heddle-file.documents: the file holds more than one document",
  ]);
  const { value } = parseComposeFile(
    "services: { a: { command: [echo, $$0] } }",
    "compose.yaml",
    "/x",
  );
  assert.deepEqual(value?.workloads[0]?.command, ["echo", "$0"]);
});

test("splitWords() keeps quoted words whole and undoes escapes", () => {
  assert.deepEqual(splitWords(`a 'b c' "d \\"e\\"" f\\ g`), ["a", "b c", 'd "e"', "f g"]);
});
