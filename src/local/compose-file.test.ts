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
    image: ignored
    command: node "my server.mjs" --fast
    environment: [MODE=fast, EMPTY]
    depends_on: { api: { condition: service_started } }
    ports: ["3000:80", "53/udp"]
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
  assert.deepEqual(web?.environment, { MODE: "fast", EMPTY: "" });
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

test("parseComposeFile() refuses what needs a container, and a service without a command", () => {
  const text = "services:\n  db:\n    image: postgres\n    volumes: [x]\n";
  const { value, problems } = parseComposeFile(text, "compose.yaml", "/x");
  assert.equal(value, undefined);
  assert.deepEqual(
    problems.map((problem) => [problem.code, problem.source?.line]),
    [
      ["heddle-file.container", 4],
      ["heddle-file.required", 3],
    ],
  );
});

test("splitWords() keeps quoted words whole and undoes escapes", () => {
  assert.deepEqual(splitWords(`a 'b c' "d \\"e\\"" f\\ g`), ["a", "b c", 'd "e"', "f g"]);
});
