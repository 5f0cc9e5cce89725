/**
 * Traces of the sample shop, with either data plane: one trace over all hops with its spans linked as
 * the requests were, the caller's decision honoured, and the share that meshConfig asks for.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { requestHttp } from "../../src/net/http-request.ts";
import { eventually, meshModes, type TestMesh } from "./support/mesh.ts";
import { dataPlanes } from "./support/metrics-mesh.ts";
import {
  type CollectedSpan,
  type OtlpCollector,
  startCollector,
} from "./support/otlp-collector.ts";
import { startTracedShop } from "./support/traced-shop.ts";

/** Both data planes gather spans for a second before they send them. */
const flushMs = 1000;

for (const mode of meshModes) {
  for (const dataPlane of dataPlanes) {
    describe(`traces, ${mode}, ${dataPlane}`, () => {
      let collector: OtlpCollector;
      let mesh: TestMesh;

      before(async () => {
        collector = await startCollector();
        const collectorPort = collector.port;
        mesh = await startTracedShop({ mode, dataPlane, collectorPort, samplingPercent: 100 });
      });
      after(async () => {
        await mesh.stop();
        await collector[Symbol.asyncDispose]();
      });

      const ask = async (headers: Readonly<Record<string, string>> = {}): Promise<void> => {
        const { status, text } = await requestHttp({
          url: `${mesh.gatewayUrls[0]}api/products`,
          headers, // each on a connection of its own: what happens to idle ones is not the matter here
          timeoutMs: 10_000,
          responseBytesMax: 1 << 20,
        });
        assert.equal(status, 200, text);
        assert.match(text, /"stock"/);
      };

      test("a request is one trace over all hops, each span below the one that caused it", async () => {
        collector.clear();
        await ask();
        // Gateway in and out, storefront in, catalog and inventory out and in.
        await untilSpans(collector, 7);
        await pause(flushMs + 500); // what is too much would come late
        const spans = collector.spans();
        assert.equal(new Set(spans.map((one) => one.traceId)).size, 1);
        assert.deepEqual(treeOf(spans), [
          "istio-ingressgateway.istio-system server",
          "  istio-ingressgateway.istio-system client",
          "    storefront.default server",
          "      storefront.default client",
          "        catalog.default server",
          "      storefront.default client",
          "        inventory.default server",
        ]);
        assert.deepEqual(collector.malformed, []);
      });

      test("a trace that the caller began goes on, sampled as the caller decided", async () => {
        collector.clear();
        const [taken, left, callerSpan] = [id(16), id(16), id(8)];
        await ask({ traceparent: `00-${left}-${callerSpan}-00` });
        await ask({ traceparent: `00-${taken}-${callerSpan}-01` });
        const spans = await untilSpans(collector, 7);
        assert(spans.every((one) => one.traceId === taken));
        const roots = spans.filter((one) => one.parentSpanId === callerSpan);
        assert.deepEqual(
          roots.map((one) => one.service),
          ["istio-ingressgateway.istio-system"],
        );
      });

      // Envoy's OpenTelemetry tracer reads traceparent alone: it begins a trace of its own.
      if (dataPlane === "heddle") {
        test("b3 is read as traceparent is, in one header or several, by heddle", async () => {
          for (const headersOf of [single, several]) {
            collector.clear();
            const [taken, left, callerSpan] = [id(16), id(16), id(8)];
            await ask(headersOf(left, callerSpan, "0"));
            await ask(headersOf(taken, callerSpan, "1"));
            const spans = await untilSpans(collector, 7);
            assert(spans.every((one) => one.traceId === taken));
            assert(spans.some((one) => one.parentSpanId === callerSpan));
          }
        });
      }

      test("spans last as long as what they tell of: children lie within their parents", async () => {
        collector.clear();
        const requests = 8;
        for (let i = 0; i < requests; i++) await ask();
        const spans = await untilSpans(collector, requests * 7);
        const slackNs = 20_000_000n; // clocks are read at different moments of a turn
        // By who is within whom: how far the best of them stands out. Any one may have been held up
        // between the last byte that it sent and its look at the clock.
        const beyondNs = new Map<string, bigint>();
        for (const span of spans) {
          const parent = spans.find((one) => one.spanId === span.parentSpanId);
          assert(span.endNs >= span.startNs);
          if (parent === undefined) continue;
          const early = parent.startNs - span.startNs;
          const late = span.endNs - parent.endNs;
          const most = early > late ? early : late;
          const link = `${span.service} ${span.kind} in ${parent.service} ${parent.kind}`;
          const least = beyondNs.get(link);
          beyondNs.set(link, least === undefined || most < least ? most : least);
        }
        assert(beyondNs.size >= 5, [...beyondNs.keys()].join(", "));
        for (const [link, ns] of beyondNs) assert(ns <= slackNs, `${link}: ${ns} ns beyond`);
      });

      test("the share of meshConfig is sampled, whole traces or none of their spans", async () => {
        const text = readFileSync(join(mesh.directory, "heddle.yaml"), "utf8");
        mesh.write("heddle.yaml", text.replace("sampling: 100", "sampling: 30"));
        await eventually(
          "fewer are sampled",
          async () => {
            collector.clear();
            for (let i = 0; i < 10; i++) await ask();
            await pause(flushMs + 500);
            // One that comes late may be missing; of ten at 30 % more are.
            return new Set(collector.spans().map((one) => one.traceId)).size < 9;
          },
          60_000,
        );
        collector.clear();
        const requests = 60;
        for (let i = 0; i < requests; i++) await ask();
        await pause(flushMs + 1000);
        const traces = (): Map<string, CollectedSpan[]> =>
          Map.groupBy(collector.spans(), (one) => one.traceId);
        await eventually("every trace is whole", () =>
          [...traces().values()].every((spans) => spans.length >= 7),
        );
        const byTrace = traces();
        for (const spans of byTrace.values()) assert.equal(spans.length, 7);
        // Six standard deviations around 30 % of 60.
        assert(byTrace.size >= 1 && byTrace.size <= 39, `${byTrace.size} of ${requests}`);
      });
    });
  }
}

function id(bytes: number): string {
  return randomBytes(bytes).toString("hex");
}

function single(traceId: string, spanId: string, sampled: string): Record<string, string> {
  return { b3: `${traceId}-${spanId}-${sampled}` };
}

function several(traceId: string, spanId: string, sampled: string): Record<string, string> {
  return { "x-b3-traceid": traceId, "x-b3-spanid": spanId, "x-b3-sampled": sampled };
}

async function untilSpans(
  collector: OtlpCollector,
  count: number,
): Promise<readonly CollectedSpan[]> {
  try {
    await eventually("spans", () => collector.spans().length >= count, 20_000);
  } catch {
    assert.fail(
      `${collector.spans().length} of ${count} spans:\n${treeOf(collector.spans()).join("\n")}`,
    );
  }
  return collector.spans();
}

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

/** Indented by depth; siblings by name of what is below them. A span without its parent is a root. */
function treeOf(spans: readonly CollectedSpan[]): readonly string[] {
  const known = new Set(spans.map((one) => one.spanId));
  const below = (parent: CollectedSpan, indent: string): readonly string[] => [
    `${indent}${parent.service} ${parent.kind}`,
    ...spans
      .filter((one) => one.parentSpanId === parent.spanId)
      .map((one) => below(one, `${indent}  `))
      .toSorted((left, right) => (left.join("\n") < right.join("\n") ? -1 : 1))
      .flat(),
  ];
  return spans.filter((one) => !known.has(one.parentSpanId)).flatMap((one) => below(one, ""));
}
