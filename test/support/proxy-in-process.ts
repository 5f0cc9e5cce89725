/** Heddle's proxy in the test's own process, from a bootstrap, as `heddle proxy` composes it. */
import { systemClock } from "../../src/base/clock.ts";
import type { IoChoice } from "../../src/net/io-backend.ts";
import { parseBootstrap } from "../../src/proxy/bootstrap.ts";
import { startProxy } from "../../src/proxy/proxy.ts";
import { createLog } from "../../src/telemetry/log.ts";
import { createMetricRegistry } from "../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../src/telemetry/standard-metrics.ts";

/**
 * `bootstrap`: as JSON has it. Access logs go to `onLogged`. Resolves once it serves; throws what it refuses.
 * `metrics()`: all series as text.
 */
export async function startProxyInProcess(
  bootstrap: unknown,
  io: IoChoice,
  onLogged: (text: string) => void = () => {},
): Promise<{ readonly close: () => Promise<void>; readonly metrics: () => string }> {
  const clock = systemClock;
  const { feed, secrets, nodeId } = parseBootstrap({
    name: "bootstrap.json",
    text: JSON.stringify(bootstrap),
    parseYaml: (text) => JSON.parse(text),
    readFile: () => Buffer.alloc(0),
  });
  const metrics = createMetricRegistry();
  const proxy = startProxy({
    feed,
    secrets,
    clock,
    log: createLog({ level: "error", format: "text", clock, sink: (line) => console.error(line) }),
    metrics,
    random: Math.random,
    peers: noPeers,
    openLog: () => (memory, length) => onLogged(memory.toString("utf8", 0, length)),
    io,
    nodeId,
    version: "test",
  });
  if (proxy.refusals().length > 0) throw new Error(proxy.refusals().join("\n"));
  await proxy.ready;
  return { close: () => proxy.close(), metrics: () => metrics.expose() };
}
