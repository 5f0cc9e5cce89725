import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { formatProblem } from "../../base/problem.ts";
import { validate } from "./validate.ts";

const policy = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: default, namespace: istio-system }
spec: { mtls: { mode: STRICT } }
`;

test("validate() counts resources and finds a name used in two files", () => {
  const validation = validate([
    { file: "a.yaml", text: policy },
    { file: "b.yaml", text: policy },
  ]);
  assert.equal(validation.resources, 2);
  assert.deepEqual(
    validation.problems.map(({ code, source }) => [code, source?.file, source?.line]),
    [["config.duplicate-name", "b.yaml", 1]],
  );
});

test("validate() reports every problem with its place", () => {
  const text = policy.replace("STRICT", "STRIKT").replace("spec:", "sepc: {}\nspec:");
  const { problems } = validate([{ file: "a.yaml", text }]);
  assert.ok(problems.length >= 2, JSON.stringify(problems));
  for (const problem of problems) assert.equal(problem.source?.file, "a.yaml");
});

test("validate() checks resources against what heddle.yaml says runs", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-validate-"));
  try {
    const mesh =
      "meshConfig: { enableAutoMtls: 7 }\nworkloads:\n- name: cart\n  command: [a]\n  ports: [{ port: 80 }]\n";
    writeFileSync(join(folder, "heddle.yaml"), mesh);
    const text = `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: cart }
spec: { hosts: [cart], http: [{ route: [{ destination: { host: carts } }] }] }
`;
    const { problems } = validate([{ file: "a.yaml", text }], folder);
    assert.deepEqual(
      problems.map(({ code, source }) => `${code} ${source?.file}:${source?.line}`),
      [
        `config.wrong-type ${join(folder, "heddle.yaml")}:1`,
        "virtualservice.host-not-found a.yaml:4",
      ],
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("validate() finds a gateway's port that no Gateway has a server for", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-validate-"));
  try {
    const ports = "[{ port: 80 }, { port: 81 }]";
    const mesh = `gateways:\n- { name: edge, labels: { istio: edge }, ports: ${ports} }\n`;
    writeFileSync(join(folder, "heddle.yaml"), `${mesh}workloads: []\n`);
    const text = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: { name: edge, namespace: istio-system }
spec:
  selector: { istio: edge }
  servers: [{ port: { number: 80, name: http, protocol: HTTP }, hosts: ["*"] }]
`;
    const [problem, ...others] = validate([{ file: "a.yaml", text }], folder).problems;
    assert.deepEqual(others, []);
    assert(problem !== undefined);
    assert.equal(
      formatProblem(problem),
      `${join(folder, "heddle.yaml")}:2:64: warning gateway.unused-port: no Gateway has a server for port 81 of edge, so nothing answers there (gateways.edge.ports); add one to a Gateway with the selector { istio: edge }, or take the port out of heddle.yaml`,
    );
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("validate() finds that nobody is there to take the spans", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-validate-"));
  const check = (service: string, expected: readonly string[]): void => {
    const mesh = `workloads:
- { name: jaeger, command: [a], ports: [{ port: 4318 }] }
meshConfig:
  enableTracing: true
  extensionProviders:
  - { name: c, opentelemetry: { service: ${service} } }
`;
    writeFileSync(join(folder, "heddle.yaml"), mesh);
    assert.deepEqual(
      validate([], folder).problems.map(
        ({ code, source, message }) => `${source?.line}:${source?.column} ${code}: ${message}`,
      ),
      expected,
    );
  };
  const host = "jaeger.default.svc.cluster.local";
  const code = "6:42 meshconfig.collector-not-found";
  try {
    check(`${host}, port: 4318`, []);
    check(`default/${host}, port: 4318`, []);
    check("collector.example, port: 4318", [
      `${code}: no service is called collector.example, so no spans are sent`,
    ]);
    check(`${host}, port: 4317`, [
      `${code}: ${host} has no port 4317, so no spans are sent; it has 4318`,
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("validate() says nothing of a total where a weight cannot be read", () => {
  const text = (weight: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: cart }
spec:
  hosts: [cart]
  http: [{ route: [{ destination: { host: a }, weight: 30 }, { destination: { host: b }, weight: ${weight} }] }]
`;
  const codes = (weight: string): readonly string[] =>
    validate([{ file: "a.yaml", text: text(weight) }]).problems.map(({ code }) => code);
  assert.deepEqual(codes("70"), []);
  assert.deepEqual(codes("60"), ["virtualservice.weights"]);
  assert.deepEqual(codes('"seventy"'), ["config.wrong-type"]);
});
