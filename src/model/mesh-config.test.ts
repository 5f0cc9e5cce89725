import assert from "node:assert/strict";
import { test } from "node:test";

import { formatProblem } from "../base/problem.ts";
import { type ParsedMeshConfig, parseMeshConfig } from "./mesh-config.ts";
import { parseYaml, yamlField } from "./yaml.ts";

function parse(text: string): ParsedMeshConfig {
  const root = parseYaml(text, "heddle.yaml").documents[0]?.root;
  return parseMeshConfig(yamlField(root, "meshConfig"));
}

test("parseMeshConfig() says file, line and column of what is wrong", () => {
  const { problems, isSound } = parse(
    "mesh: a\nmeshConfig:\n  enableAutoMtls: maybe\n  wrong: 1\n",
  );
  assert.equal(isSound, false);
  const places = problems.map(
    ({ code, source }) => `${source?.file}:${source?.line}:${source?.column} ${code}`,
  );
  assert.deepEqual(places, [
    "heddle.yaml:3:19 config.wrong-type",
    "heddle.yaml:4:3 config.unknown-field",
  ]);
});

test("parseMeshConfig() traces by the provider that is named, and says why there are no spans", () => {
  const collector = "{ name: c, opentelemetry: { service: ns/c.example, port: 4318 } }";
  const check = (
    config: string,
    service: string | undefined,
    problems: readonly string[],
  ): void => {
    const parsed = parse(`meshConfig: ${config}\n`);
    assert.equal(parsed.isSound, true, parsed.problems.map(formatProblem).join("\n"));
    assert.equal(parsed.settings.tracing?.service, service, config);
    assert.deepEqual(
      parsed.problems.map(({ code, path }) => `${code} ${path}`),
      problems,
    );
  };
  const named = `defaultProviders: { tracing: [c] }`;
  const missing = "meshconfig.no-tracing-provider meshConfig.defaultProviders.tracing[0]";
  check(`{ extensionProviders: [${collector}] }`, undefined, []);
  check(`{ enableTracing: true, extensionProviders: [${collector}] }`, "c.example", []);
  check(`{ ${named}, extensionProviders: [${collector}] }`, "c.example", []);
  check(`{ ${named} }`, undefined, [missing]);
  check(`{ enableTracing: true, ${named}, extensionProviders: [] }`, undefined, [missing]);
  check(
    `{ ${named}, extensionProviders: [{ name: c, zipkin: { service: z, port: 1 } }] }`,
    undefined,
    ["config.not-honoured meshConfig.extensionProviders[0].zipkin", missing],
  );
  check("{ enableTracing: true }", undefined, [
    "meshconfig.no-tracing-provider meshConfig.enableTracing",
  ]);
  check(`{ enableTracing: false, ${named}, extensionProviders: [${collector}] }`, undefined, [
    "config.no-effect meshConfig.defaultProviders.tracing[0]",
  ]);
  check(
    `{ defaultProviders: { tracing: [c, d] }, extensionProviders: [${collector}] }`,
    "c.example",
    ["config.not-honoured meshConfig.defaultProviders.tracing[1]"],
  );
});

test("parseMeshConfig() refuses a JSON access-log format that is no object, and logs in Istio's", () => {
  const check = (format: string, encoding: string, expected: string | undefined): void => {
    const text = `meshConfig:\n  accessLogEncoding: ${encoding}\n  accessLogFormat: '${format}'\n`;
    const { settings, problems, isSound } = parse(text);
    assert.equal(isSound, true);
    assert.equal(settings.accessLogFormat, expected === undefined ? format : undefined);
    assert.deepEqual(
      problems
        .map(formatProblem)
        .join("")
        .includes(expected ?? ""),
      true,
    );
    assert.equal(problems.length, expected === undefined ? 0 : 1);
  };
  check('{"status": "%RESPONSE_CODE%"}', "JSON", undefined);
  check("%RESPONSE_CODE%", "TEXT", undefined);
  check("%RESPONSE_CODE%", "JSON", "meshconfig.bad-access-log-format");
  check('["a"]', "JSON", "must be a JSON object");
});
