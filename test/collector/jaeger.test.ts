/**
 * The sample shop's traces in a real Jaeger, with either data plane: Jaeger finds each hop's service
 * and every span below the one that caused it. Needs what tools/build-jaeger.ts builds.
 */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";

import { freePort } from "../support/free-port.ts";
import { eventually, meshModes, type TestMesh } from "../e2e/support/mesh.ts";
import { dataPlanes } from "../e2e/support/metrics-mesh.ts";
import { startTracedShop } from "../e2e/support/traced-shop.ts";

const binary = ".cache/jaeger/jaeger";
const mode = meshModes[0] ?? "explicit";

interface JaegerTrace {
  readonly traceID: string;
  readonly processes: Readonly<Record<string, { readonly serviceName: string }>>;
  readonly spans: readonly {
    readonly spanID: string;
    readonly processID: string;
    readonly references: readonly { readonly refType: string; readonly spanID: string }[];
    readonly warnings: readonly string[] | null;
  }[];
}

for (const dataPlane of dataPlanes) {
  describe(`traces in Jaeger, ${mode}, ${dataPlane}`, () => {
    let jaeger: ChildProcess | undefined;
    let mesh: TestMesh | undefined;
    let queryPort = 0;

    before(async () => {
      assert(existsSync(binary), "'npm test -- collector' builds it");
      queryPort = await freePort();
      const collectorPort = await freePort();
      jaeger = await startJaeger({ queryPort, collectorPort });
      mesh = await startTracedShop({ mode, dataPlane, collectorPort, samplingPercent: 100 });
    });
    after(async () => {
      jaeger?.kill("SIGKILL");
      await mesh?.stop();
    });

    test("a request is one trace, each span below the one that caused it", async () => {
      assert(mesh !== undefined);
      const answer = await fetch(`${mesh.gatewayUrls[0]}api/products`);
      assert.equal(answer.status, 200, await answer.text());
      const url = `http://127.0.0.1:${queryPort}/api/traces?service=storefront.default&limit=20`;
      const trace = await eventually(
        "Jaeger has the whole trace",
        async () => {
          const found: { readonly data: readonly JaegerTrace[] | null } = JSON.parse(
            await (await fetch(url)).text(),
          );
          return found.data?.find((one) => one.spans.length >= 7);
        },
        30_000,
      );
      assert.deepEqual(linksOf(trace), [
        "catalog.default < storefront.default",
        "inventory.default < storefront.default",
        "istio-ingressgateway.istio-system < istio-ingressgateway.istio-system",
        "istio-ingressgateway.istio-system < nothing",
        "storefront.default < istio-ingressgateway.istio-system",
        "storefront.default < storefront.default",
        "storefront.default < storefront.default",
      ]);
      for (const span of trace.spans) {
        // On a busy machine a server may notice the end of a request after its client.
        const warnings = (span.warnings ?? []).filter((text) => !text.startsWith("clock skew"));
        assert.deepEqual(warnings, []);
      }
    });
  });
}

/** `service < service of its parent`, for each span. */
function linksOf({ spans, processes }: JaegerTrace): readonly string[] {
  const serviceOf = (spanId: string | undefined): string => {
    const span = spans.find((one) => one.spanID === spanId);
    return span === undefined ? "nothing" : (processes[span.processID]?.serviceName ?? "");
  };
  return spans
    .map((one) => `${serviceOf(one.spanID)} < ${serviceOf(one.references[0]?.spanID)}`)
    .toSorted();
}

async function startJaeger(ports: {
  readonly queryPort: number;
  readonly collectorPort: number;
}): Promise<ChildProcess> {
  const anyPort = [
    "collector.otlp.grpc.host-port",
    "collector.grpc-server.host-port",
    "collector.http-server.host-port",
    "query.grpc-server.host-port",
    "admin.http.host-port",
  ].map((name) => `--${name}=127.0.0.1:0`);
  const args = [
    ...anyPort,
    "--log-level=error",
    `--collector.otlp.http.host-port=0.0.0.0:${ports.collectorPort}`,
    `--query.http-server.host-port=127.0.0.1:${ports.queryPort}`,
  ];
  const child = spawn(binary, args, { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => (log += text));
  try {
    await eventually("Jaeger answers", async () => {
      const answer = await fetch(`http://127.0.0.1:${ports.queryPort}/api/services`).catch(
        () => {},
      );
      return answer?.ok;
    });
  } catch (thrown) {
    child.kill("SIGKILL");
    throw new Error(`Jaeger does not start: ${log.slice(-2000)}`, { cause: thrown });
  }
  return child;
}
