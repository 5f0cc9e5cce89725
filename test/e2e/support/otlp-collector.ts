/** An OTLP/HTTP collector in the test's process: decodes what it is sent, and may hand it on. */
import { createServer } from "node:http";

import { ExportTraceServiceRequest } from "../../../src/wire/gen/ts/opentelemetry/proto/collector/trace/v1/trace_service.ts";
import { Span_SpanKind } from "../../../src/wire/gen/ts/opentelemetry/proto/trace/v1/trace.ts";

export interface CollectedSpan {
  readonly service: string;
  readonly traceId: string;
  readonly spanId: string;
  /** Empty for the first of a trace. */
  readonly parentSpanId: string;
  readonly kind: "server" | "client" | "other";
  readonly startNs: bigint;
  readonly endNs: bigint;
}

export interface OtlpCollector extends AsyncDisposable {
  readonly port: number;
  spans(traceId?: string): readonly CollectedSpan[];
  /** Requests that were not a sound OTLP request, by what was wrong. */
  readonly malformed: readonly string[];
  clear(): void;
}

/** Listens on every address of the machine. `handOn` gets each body as it came. */
export async function startCollector(
  handOn: (body: Buffer) => Promise<void> = async () => {},
): Promise<OtlpCollector> {
  const spans: CollectedSpan[] = [];
  const malformed: string[] = [];
  // Envoy sends every five seconds: by then Node's server would close the connection, and spans that
  // are sent in that moment would be lost.
  const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const what = `${request.method} ${request.url} ${request.headers["content-type"]}`;
      if (what === "POST /v1/traces application/x-protobuf") spans.push(...decode(body, malformed));
      else malformed.push(what);
      handOn(body).then(
        () => response.end(),
        () => response.writeHead(503).end(),
      );
    });
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "0.0.0.0", resolve);
  });
  const address = server.address();
  return {
    port: typeof address === "object" && address !== null ? address.port : 0,
    spans: (traceId) => spans.filter((one) => traceId === undefined || one.traceId === traceId),
    malformed,
    clear: () => void spans.splice(0),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

function decode(body: Buffer, malformed: string[]): readonly CollectedSpan[] {
  const found: CollectedSpan[] = [];
  try {
    for (const { resource, scopeSpans } of ExportTraceServiceRequest.decode(body).resourceSpans) {
      const name = resource?.attributes.find((one) => one.key === "service.name");
      for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
        found.push({
          service: name?.value?.stringValue ?? "",
          traceId: Buffer.from(span.traceId).toString("hex"),
          spanId: Buffer.from(span.spanId).toString("hex"),
          parentSpanId: Buffer.from(span.parentSpanId).toString("hex"),
          kind: kindOf(span.kind),
          startNs: span.startTimeUnixNano,
          endNs: span.endTimeUnixNano,
        });
      }
    }
  } catch (thrown) {
    malformed.push(String(thrown));
  }
  return found;
}

function kindOf(kind: number): CollectedSpan["kind"] {
  if (kind === Span_SpanKind.SPAN_KIND_SERVER) return "server";
  return kind === Span_SpanKind.SPAN_KIND_CLIENT ? "client" : "other";
}
