/** Reads the file that a control plane is started with; what is wrong is said in one sentence. */
import { readFileSync } from "node:fs";

import { z } from "zod";

import { messageOf } from "../../base/error.ts";
import type { ControlOptions } from "../../control/options.ts";
import { CommandFailure, exitCodes } from "../exit.ts";

const socketAddress = z.object({ address: z.string(), port: z.number().int().min(0).max(65_535) });

const controlOptions = z.object({
  mesh: z.string(),
  configDir: z.string(),
  stateDir: z.string(),
  trustDomain: z.string(),
  rootNamespace: z.string(),
  secureXds: socketAddress,
  plainXds: socketAddress.exactOptional(),
  plainXdsSocket: z.string().exactOptional(),
  metrics: socketAddress.exactOptional(),
  console: z.union([z.object({ fd: z.number().int().min(0) }), socketAddress]),
  consoleToken: z.string().min(16),
  apiSocket: z.string(),
  certificateTtlMs: z.number().positive(),
  logLevel: z.enum(["debug", "info", "warn", "error"]),
  logFormat: z.enum(["text", "json"]),
});

export function readControlOptions(file: string): ControlOptions {
  try {
    return controlOptions.parse(JSON.parse(readFileSync(file, "utf8")));
  } catch (error) {
    const reason = error instanceof z.ZodError ? z.prettifyError(error) : messageOf(error);
    throw new CommandFailure(exitCodes.usage, `control options ${file}: ${reason}`);
  }
}
