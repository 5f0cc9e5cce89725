/**
 * The budget of garbage: what a proxied keep-alive request leaves to the collector, counted in
 * allocated bytes over thousands of requests through the whole engine, filters, logs and metrics
 * included. It counts, it does not measure time: other work on the machine changes nothing.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);
const main = join(import.meta.dirname, "../../../bench/engine/main.ts");

interface Result {
  readonly bytes: number;
  readonly answer: string;
  readonly request: string;
  readonly lines: string;
}

async function measure(config: string, ...more: readonly string[]): Promise<Result> {
  // Optimised code comes at the same request in every run, not when another thread has made it.
  const flags = ["--expose-gc", "--no-concurrent-recompilation"];
  const space = ["--min-semi-space-size=64", "--max-semi-space-size=64"];
  const options = [
    "--disable-warning=ExperimentalWarning",
    main,
    "--json",
    "--config",
    config,
    ...more,
  ];
  const { stdout } = await run(process.execPath, [...flags, ...space, ...options], {
    timeout: 120_000,
  });
  return JSON.parse(stdout);
}

for (const [config, budgetBytes] of [
  ["plain.yaml", 200],
  ["mesh.yaml", 400],
] as const) {
  test(`${config}: a request leaves at most ${budgetBytes} bytes to the collector`, async (t) => {
    const { bytes, answer, request, lines } = await measure(config);
    t.diagnostic(`${bytes} bytes a request`);
    assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\n0123456789/);
    assert.match(request, /^GET \/ HTTP\/1\.1\r\nhost: 127\.0\.0\.1:19010\r\n/);
    if (config === "mesh.yaml") assert.match(lines, /"route_name":"default"/);
    assert.ok(bytes > 0, "nothing was counted");
    assert.ok(bytes <= budgetBytes, `${bytes} bytes of garbage a request`);
  });
}

for (const [name, ...load] of [
  ["one request at a time on a connection", "--streams", "1"],
  ["sixteen", "--connections", "8", "--streams", "16"],
] as const) {
  test(`HTTP/2, ${name}: a request leaves at most 400 bytes to the collector`, async (t) => {
    const { bytes, answer, request, lines } = await measure("mesh.yaml", ...load);
    t.diagnostic(`${bytes} bytes a request`);
    assert.match(answer, /^:status: 200\r\n[^]*\r\n0123456789/);
    assert.match(request, /^GET \/ HTTP\/1\.1\r\nhost: 127\.0\.0\.1:19010\r\n/);
    assert.match(lines, /"protocol":"HTTP\/2"/);
    assert.ok(bytes > 0, "nothing was counted");
    assert.ok(bytes <= 400, `${bytes} bytes of garbage a request`);
  });
}
