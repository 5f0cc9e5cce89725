/**
 * B3 as Zipkin's own libraries and Envoy's tracer for it read it: a context with the parent of the
 * caller's span, ids of 64 or 128 bits. `trace-context.ts` reads the same headers for traces of W3C.
 */
import type { HeaderLookup } from "./trace-context.ts";

export interface B3Context {
  /** 16 or 32 lower-case hexadecimal digits. */
  readonly traceId: string;
  readonly spanId: string;
  /** Of the caller's span; empty where it has none, or has not said. */
  readonly parentSpanId: string;
}

/**
 * `none`: nobody has named a trace. `invalid`: somebody has, in a way that cannot be understood; the
 * request is not traced.
 */
export type B3Reading = B3Context | "none" | "invalid";

export function readB3(header: HeaderLookup): B3Reading {
  const single = header("b3");
  return single === undefined ? readMultiple(header) : readSingle(single);
}

/** What the caller has decided; undefined where it is left to us. */
export function readB3Decision(header: HeaderLookup): boolean | undefined {
  const single = header("b3");
  if (single !== undefined) {
    const flag = /^(?:.{16}-.{16}-|.{32}-.{16}-)?([01d])(?:-.{16})?$/.exec(single)?.[1];
    return flag === undefined ? undefined : flag !== "0";
  }
  const sampled = header("x-b3-sampled");
  return sampled === undefined ? undefined : sampled === "1" || sampled === "true";
}

const singleForm = /^((?:[0-9a-f]{16}){1,2})-([0-9a-f]{16})(?:-[01d](?:-([0-9a-f]{16}))?)?$/;

function readSingle(text: string): B3Reading {
  if (/^[01d]$/.test(text)) return "none";
  const found = singleForm.exec(text.toLowerCase());
  const [, traceId = "", spanId = "", parentSpanId = ""] = found ?? [];
  return found === null ? "invalid" : contextOf(traceId, spanId, parentSpanId);
}

function readMultiple(header: HeaderLookup): B3Reading {
  const traceId = header("x-b3-traceid");
  const spanId = header("x-b3-spanid");
  if (traceId === undefined || spanId === undefined) return "none";
  const parentSpanId = header("x-b3-parentspanid") ?? "";
  if (!/^[0-9a-f]{1,16}$|^[0-9a-f]{32}$/i.test(traceId)) return "invalid";
  if (!/^[0-9a-f]{1,16}$/i.test(spanId)) return "invalid";
  if (!/^[0-9a-f]{0,16}$/i.test(parentSpanId)) return "invalid";
  return contextOf(traceId, spanId, parentSpanId);
}

function contextOf(trace: string, span: string, parent: string): B3Context {
  const traceId = trace.toLowerCase().padStart(16, "0");
  return {
    // A long id without an upper half is a short one.
    traceId: traceId.length === 32 && /^0{16}/.test(traceId) ? traceId.slice(16) : traceId,
    spanId: span.toLowerCase().padStart(16, "0"),
    parentSpanId: parent === "" ? "" : parent.toLowerCase().padStart(16, "0"),
  };
}

/**
 * Id of a span below one that may be shared with the caller: it follows from it, and not as
 * `upstreamSpanId()` does, which turned the other way would be the caller's.
 */
export function childSpanId(spanId: string): string {
  const last = Number.parseInt(spanId.slice(-8), 16);
  const mixed = (Math.imul(last, 0x9e37_79b1) + 1) >>> 0;
  const id = spanId.slice(0, -8) + mixed.toString(16).padStart(8, "0");
  return id === spanId || /^0+$/.test(id)
    ? `${id.slice(0, -1)}${id.endsWith("7") ? "8" : "7"}`
    : id;
}
