/** What requests may say: parameters and bodies, checked before anything acts on them. */
import { z } from "zod";
import { HeddleError } from "../base/error.ts";
import { parseDuration } from "../store/duration.ts";
import type { ApplyRequest, DeleteRequest, WaitRequest } from "./api.ts";

/** A window of the graph or a chart: 10 s to the hour that is kept. */
export function parseWindow(text: string | undefined, defaultMs: number): number {
  if (text === undefined || text === "") return defaultMs;
  const windowMs = parseDuration(text);
  if (windowMs === undefined || windowMs < 10_000 || windowMs > 3_600_000) {
    throw badRequest("window is a duration from 10s to 1h");
  }
  return windowMs;
}

export function parseLineCount(text: string | undefined): number {
  const lines = text === undefined ? 200 : Number(text);
  if (!Number.isInteger(lines) || lines < 0 || lines > 100_000) {
    throw badRequest("lines is a number from 0 to 100000");
  }
  return lines;
}

/** As an earlier answer gave it. */
export function parseLogPosition(text: string): string {
  if (/^\d{1,16}:\d{1,15}$/.test(text)) return text;
  throw badRequest("position is what an earlier answer gave");
}

export function parseLogStream(text: string | undefined): "app" | "proxy" {
  if (text === undefined || text === "app") return "app";
  if (text === "proxy") return "proxy";
  throw badRequest("stream is app or proxy");
}

const name = z.string().min(1).max(253);
const ref = z.object({ kind: name, namespace: z.string().max(253), name });

const applyShape = z.object({
  yaml: z.string(),
  dryRun: z.boolean().default(false),
  namespace: name.optional(),
  file: z.string().max(4096).optional(),
});
const deleteShape = z.object({ ref });
const waitShape = z.object({
  refs: z.array(ref).max(10_000),
  timeoutMs: z.number().min(0).max(600_000),
  generation: z.number().int().optional(),
});

export function parseApplyRequest(body: unknown): ApplyRequest {
  const { yaml, dryRun, namespace, file } = parseBody(applyShape, body);
  return {
    yaml,
    dryRun,
    ...(namespace === undefined ? {} : { namespace }),
    ...(file === undefined ? {} : { file }),
  };
}

export function parseDeleteRequest(body: unknown): DeleteRequest {
  return parseBody(deleteShape, body);
}

export function parseWaitRequest(body: unknown): WaitRequest {
  const { refs, timeoutMs, generation } = parseBody(waitShape, body);
  return { refs, timeoutMs, ...(generation === undefined ? {} : { generation }) };
}

function parseBody<T>(shape: z.ZodType<T>, body: unknown): T {
  const parsed = shape.safeParse(body);
  if (parsed.success) return parsed.data;
  throw badRequest(z.prettifyError(parsed.error).replaceAll("\n", " "));
}

function badRequest(message: string): HeddleError {
  return new HeddleError("console.bad-request", message);
}
